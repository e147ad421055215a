"""Draws one synthetic landscape with its label map; see `vitseg.data.scenes`."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw

from vitseg.classes import ClassTable

SCENE_CLASSES = ClassTable(
    names=("sky", "meadow", "road", "building", "tree", "balloon"),
    palette=(
        (120, 180, 235),
        (150, 205, 90),
        (110, 105, 125),
        (205, 110, 80),
        (30, 110, 60),
        (245, 195, 50),
    ),
)
SKY, MEADOW, ROAD, BUILDING, TREE, BALLOON = range(SCENE_CLASSES.num_classes)

SUPERSAMPLING = 2
"""Scenes are drawn this much larger and averaged down, which gives soft edges and crisp masks."""

RGB = tuple[float, float, float]


def draw_scene(
    rng: np.random.Generator, size: tuple[int, int], complete: bool = False
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
    """Draw one scene.

    Args:
        rng: Source of everything that varies.
        size: (height, width), in pixels.
        complete: Whether every class must occur; otherwise houses, trees or the balloon may be absent.

    Returns:
        The image and its label map, of the given size.
    """
    scene = Scene(rng, (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
    has_balloon, has_buildings, has_trees = (rng.random(3) < (0.85, 0.9, 0.9)) | complete
    extra = size[1] / size[0]  # a wide picture has room for more
    num_buildings = int(has_buildings) * (1 + int(rng.random() < 0.3 * extra))
    num_trees = int(has_trees) * (1 + int(rng.random() < 0.6 * extra))
    places = scene.places(num_buildings + num_trees)
    building_places, tree_places = places[:num_buildings], places[num_buildings:]
    scene.draw_sky()
    if has_balloon:
        scene.draw_balloon(away_from=building_places)
    scene.draw_meadow()
    scene.draw_road()
    for place in building_places:
        scene.draw_building(place)
    for place in tree_places:
        scene.draw_tree(place)
    return scene.finish()


class Scene:
    """A picture in the making, from back to front. Lengths are in units of 1/100 of the shorter side.

    Attributes:
        image: Colours in [0, 1], (H, W, 3).
        label_map: Class of every pixel, (H, W).
        light: Where the sun stands: -1 left, 1 right.
        horizon: Row at which the meadow begins, per column, (W,).
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.height, self.width = size
        self.unit = min(size) / 100
        self.image = np.zeros((*size, 3), dtype=np.float32)
        self.label_map = np.zeros(size, dtype=np.uint8)
        self.light = float(rng.choice([-1, 1]))
        self.rows, self.columns = np.mgrid[: self.height, : self.width].astype(np.float32)
        self.horizon = self._hills()

    def places(self, num: int) -> list[float]:
        """Columns that stand apart: one in each of `num` equal parts of the width, in random order."""
        parts = self.rng.permutation(num)
        return [float((part + self.rng.uniform(0.3, 0.7)) * self.width / num) for part in parts]

    def draw_sky(self) -> None:
        """A gradient between two tints of one time of day, with clouds."""
        zenith, haze = [
            ((0.24, 0.50, 0.86), (0.74, 0.88, 0.98)),  # noon
            ((0.36, 0.45, 0.75), (0.98, 0.80, 0.68)),  # evening
            ((0.42, 0.62, 0.82), (0.90, 0.93, 0.94)),  # morning haze
        ][self.rng.integers(3)]
        down = (self.rows / self.horizon.max())[..., None]
        sky = _mix(_tint(self.rng, zenith), _tint(self.rng, haze), np.clip(down, 0, 1) ** 0.8)
        clouds = (
            self._noise(26, stretch=2.2) + 0.45 * self._noise(9, stretch=1.8) + 0.2 * self._noise(4)
        )
        cover = np.clip((clouds - self.rng.uniform(0.0, 0.6)) * 2.2, 0, 1)[..., None] * 0.9
        white = np.array([1.0, 0.985, 0.96], dtype=np.float32) - 0.10 * np.clip(down, 0, 1)
        self._paint(np.ones_like(self.label_map, dtype=bool), SKY, _mix(sky, white, cover))

    def draw_meadow(self) -> None:
        """Rolling grass: pale far away, strong and tufted near by."""
        mask = self.rows >= self.horizon
        near = np.clip((self.rows - self.horizon) / (self.height - self.horizon), 0, 1)[..., None]
        grass = _mix(
            _tint(self.rng, (0.68, 0.80, 0.42)), _tint(self.rng, (0.40, 0.64, 0.20)), near**0.7
        )
        swathes = self._noise(30, stretch=4.0) * 0.05
        tufts = self._noise(2.0, stretch=0.5) * (0.02 + 0.06 * near[..., 0])
        grass = grass * (1 + swathes + tufts)[..., None]
        flowers = (self._noise(1.6) > 2.3 - 0.3 * near[..., 0]) & (near[..., 0] > 0.25)
        grass[flowers] = _tint(
            self.rng,
            [(0.98, 0.95, 0.80), (0.97, 0.83, 0.30), (0.93, 0.60, 0.72)][self.rng.integers(3)],
        )
        self._paint(mask, MEADOW, grass)

    def draw_road(self) -> None:
        """An asphalt road that winds from the lower edge towards the horizon and widens as it comes nearer."""
        top = float(self.horizon.max()) + 3 * self.unit
        near = np.clip((self.rows - top) / (self.height - top), 0, 1)
        start, end = (self.rng.uniform(0.25, 0.75) * self.width for _ in range(2))
        bend = self.rng.uniform(-0.18, 0.18) * self.width
        middle = start + (end - start) * near + bend * np.sin(np.pi * near)
        half = self.unit * (3.5 + self.rng.uniform(16, 22) * near)
        across = (self.columns - middle) / half
        mask = (np.abs(across) <= 1) & (self.rows >= top)
        grey = _tint(self.rng, (0.43, 0.42, 0.46))
        asphalt = (
            np.ones_like(self.image)
            * grey
            * (1 + 0.07 * self._noise(1.2) + 0.05 * self._noise(14))[..., None]
        )
        asphalt *= (1 - 0.10 * near)[..., None]
        dashes = (np.abs(across) < 0.05) & ((6 * near**0.6 + self.rng.random()) % 1 < 0.55)
        kerbs = (np.abs(across) > 0.90) & (np.abs(across) < 0.96)
        asphalt[dashes | kerbs] = (0.92, 0.91, 0.86)
        self._paint(mask, ROAD, asphalt)

    def draw_balloon(self, away_from: list[float]) -> None:
        """A striped hot-air balloon with its basket, above the horizon.

        Args:
            away_from: Columns that the balloon avoids if it can.
        """
        radius = self.rng.uniform(14, 18) * self.unit
        basket = 0.32 * radius
        tries = [self.rng.uniform(1.15 * radius, self.width - 1.15 * radius) for _ in range(4)]
        x = max(
            tries, key=lambda place: min((abs(place - other) for other in away_from), default=0)
        )
        lowest = float(self.horizon.min()) - 1.75 * radius - basket
        y = self.rng.uniform(1.1 * radius, max(lowest, 1.1 * radius + 1))
        # the envelope: a circle that tapers below its middle
        down = (self.rows - y) / radius
        reach = np.where(
            down < 0, np.sqrt(np.clip(1 - down**2, 0, 1)), 1 - 0.50 * np.clip(down, 0, 9) ** 1.7
        )
        across = (self.columns - x) / radius
        envelope = (np.abs(across) <= reach) & (down >= -1) & (down <= 1.22)
        # the stripes are meridians: their angle on the sphere, not their column
        angle = np.arcsin(np.clip(across / np.maximum(reach, 1e-3), -1, 1)) / np.pi + 0.5
        warm, light = [
            ((0.90, 0.20, 0.22), (0.99, 0.82, 0.25)),
            ((0.80, 0.15, 0.42), (0.99, 0.80, 0.28)),
        ][self.rng.integers(2)]
        stripes = (np.floor(angle * 8) % 2)[..., None]
        cloth = _mix(_tint(self.rng, warm), _tint(self.rng, light), stripes)
        cloth = cloth * (0.86 + 0.20 * self.light * across - 0.10 * down)[..., None]
        self._paint(envelope, BALLOON, cloth)
        wicker = (np.abs(across) < 0.24) & (down > 1.36) & (down < 1.36 + 0.36)
        ropes = (np.abs(np.abs(across) - 0.22) < 0.035) & (down >= 1.2) & (down <= 1.4)
        weave = 1 + 0.18 * np.sign(
            np.sin(self.rows / self.unit * 3.2) * np.sin(self.columns / self.unit * 3.2)
        )
        self._paint(
            wicker | ropes,
            BALLOON,
            np.full_like(self.image, (0.52, 0.34, 0.18)) * weave[..., None],
        )

    def draw_building(self, x: float) -> None:
        """A brick house with a roof, a door and rows of windows; it stands on the meadow, its middle in column `x`."""
        wall_width, wall_height = (
            self.rng.uniform(low, high) * self.unit for low, high in ((25, 36), (26, 40))
        )
        left, right = x - wall_width / 2, x + wall_width / 2
        base = self._ground(x) + self.rng.uniform(4, 9) * self.unit
        top = base - wall_height
        self._shadow(x, base, wall_width * 0.75)
        wall = (
            (self.columns >= left)
            & (self.columns <= right)
            & (self.rows >= top)
            & (self.rows <= base)
        )
        shade = 1 + 0.10 * self.light * (self.columns - x) / wall_width
        brick = _tint(
            self.rng,
            [(0.78, 0.44, 0.34), (0.80, 0.50, 0.38), (0.72, 0.36, 0.30)][self.rng.integers(3)],
        )
        course = 2.4 * self.unit  # height of a row of bricks
        joint = ((self.rows - top) % course < course * 0.22) | (
            (self.columns + course * (np.floor((self.rows - top) / course) % 2)) % (2 * course)
            < course * 0.22
        )
        bricks = brick * (shade * np.where(joint, 1.10, 1 + 0.04 * self._noise(2)))[..., None]
        self._paint(wall, BUILDING, bricks)
        self._draw_windows(left, top, wall_width, wall_height)

        pitch = self.rng.uniform(0.30, 0.45) * wall_width
        eaves = 2.5 * self.unit
        slope = (self.rows - (top - pitch)) / pitch
        roof = (
            (np.abs(self.columns - x) <= slope * (wall_width / 2 + eaves))
            & (slope >= 0)
            & (self.rows <= top + 1)
        )
        tiles = (
            1 + 0.10 * np.sign(np.sin((self.rows - top) / self.unit * 2.2)) + 0.04 * self._noise(2)
        )
        self._paint(
            roof, BUILDING, _tint(self.rng, (0.42, 0.20, 0.18)) * (shade * tiles)[..., None]
        )

    def _draw_windows(self, left: float, top: float, wall_width: float, wall_height: float) -> None:
        num_columns = max(2, round(wall_width / (10 * self.unit)))
        num_rows = max(2, round(wall_height / (13 * self.unit)))
        cell_width, cell_height = wall_width / num_columns, wall_height / num_rows
        across = (self.columns - left) / cell_width
        down = (self.rows - top) / cell_height
        inside = (across >= 0) & (across < num_columns) & (down >= 0) & (down < num_rows)
        door = int(self.rng.integers(num_columns))
        is_door = (np.floor(across) == door) & (np.floor(down) == num_rows - 1)
        u, v = across % 1, down % 1
        frame = inside & (np.abs(u - 0.5) < 0.31) & (np.abs(v - 0.5) < 0.33) & ~is_door
        pane = (
            frame & (np.abs(u - 0.5) < 0.25) & (np.abs(v - 0.5) < 0.27) & (np.abs(u - 0.5) > 0.03)
        )
        self.image[frame] = (0.93, 0.90, 0.84)
        lit = self.rng.random((num_rows, num_columns)) < 0.3
        for row in range(num_rows):
            for column in range(num_columns):
                glass = (0.98, 0.84, 0.48) if lit[row, column] else (0.24, 0.31, 0.40)
                self.image[pane & (np.floor(across) == column) & (np.floor(down) == row)] = glass
        self.image[inside & is_door & (np.abs(u - 0.5) < 0.30) & (v > 0.22)] = (0.30, 0.19, 0.14)

    def draw_tree(self, x: float) -> None:
        """A tree in column `x`: its crown is many overlapping clumps of leaves, lit from the side of the sun."""
        radius = self.rng.uniform(13, 18) * self.unit
        base = self._ground(x) + self.rng.uniform(6, 22) * self.unit
        centre = base - radius * self.rng.uniform(1.5, 1.8)
        self._shadow(x, base, radius * 0.9)
        widening = 1 + 0.5 * np.clip((self.rows - base + 0.4 * radius) / (0.4 * radius), 0, 1) ** 2
        trunk = (
            (np.abs(self.columns - x) < 0.16 * radius * widening)
            & (self.rows > centre)
            & (self.rows <= base)
        )
        bark = (
            _tint(self.rng, (0.36, 0.25, 0.17))
            * (1 + 0.12 * self._noise(1.5, stretch=0.4))[..., None]
        )
        self._paint(trunk, TREE, bark)

        outline = Image.new("L", (self.width, self.height))
        draw = ImageDraw.Draw(outline)
        for angle in np.arange(8) / 8 * 2 * np.pi + self.rng.random():
            away, size = (
                self.rng.uniform(0.42, 0.58) * radius,
                self.rng.uniform(0.45, 0.60) * radius,
            )
            left, top = (
                x + 1.05 * away * np.cos(angle) - size,
                centre + 0.95 * away * np.sin(angle) - size,
            )
            draw.ellipse((left, top, left + 2 * size, top + 2 * size), fill=1)
        draw.ellipse(
            (x - 0.6 * radius, centre - 0.6 * radius, x + 0.6 * radius, centre + 0.6 * radius),
            fill=1,
        )
        crown = np.asarray(outline) > 0

        leaves = 0.16 * self._noise(5.5) + 0.16 * self._noise(2.2)
        side = (self.light * (self.columns - x) - 1.2 * (self.rows - centre)) / radius
        brightness = np.clip(0.95 + 0.22 * side + leaves, 0.45, 1.6)[..., None]
        self._paint(crown, TREE, _tint(self.rng, (0.13, 0.38, 0.19)) * brightness)

    def finish(self) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """The picture at its final size, with the exposure, the white balance and the noise of a camera."""
        step = SUPERSAMPLING
        height, width = self.height // step, self.width // step
        blocks = self.image.reshape(height, step, width, step, 3)
        image = blocks.mean(axis=(1, 3))  # (height, width, 3)
        exposure = self.rng.uniform(0.88, 1.12) * self.rng.uniform(0.97, 1.03, size=3)
        image = image * exposure + 0.018 * self.rng.standard_normal(image.shape, dtype=np.float32)
        label_map = self.label_map[::step, ::step].copy()
        return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), label_map

    def _paint(
        self, mask: Bool[np.ndarray, "H W"], label: int, colors: Float32[np.ndarray, "H W 3"]
    ) -> None:
        self.image[mask] = colors[mask]
        self.label_map[mask] = label

    def _shadow(self, x: float, y: float, reach: float) -> None:
        """Darken the ground beside an object, on the side away from the sun."""
        across = (self.columns - (x - 0.5 * self.light * reach)) / reach
        down = (self.rows - y) / (0.22 * reach)
        ground = (self.label_map == MEADOW) | (self.label_map == ROAD)
        self.image[(across**2 + down**2 < 1) & ground] *= 0.72

    def _hills(self) -> Float32[np.ndarray, " W"]:
        along = np.arange(self.width) / self.width
        swell = np.zeros(self.width)
        for wave in (1, 2, 3):
            phase = wave * 0.7 * along + self.rng.random()
            swell += self.rng.uniform(0.5, 1) / wave * np.sin(2 * np.pi * phase)
        return (self.height * (self.rng.uniform(0.52, 0.62) + 0.03 * swell)).astype(np.float32)

    def _ground(self, x: float) -> float:
        return float(self.horizon[int(np.clip(x, 0, self.width - 1))])

    def _noise(self, grain: float, stretch: float = 1.0) -> Float32[np.ndarray, "H W"]:
        """Smooth noise with mean 0 and deviation about 1.

        Args:
            grain: Distance between its bumps, in units.
            stretch: How much wider than high the bumps are.
        """
        rows = max(2, round(self.height / (grain * self.unit)))
        columns = max(2, round(self.width / (grain * self.unit * stretch)))
        coarse = self.rng.standard_normal((rows, columns), dtype=np.float32)
        smooth = Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(smooth)


def _tint(rng: np.random.Generator, color: RGB) -> Float32[np.ndarray, "3"]:
    """A colour near the given one: hue, saturation and value moved a little."""
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    hue += rng.uniform(-0.02, 0.02)
    saturation *= rng.uniform(0.88, 1.12)
    value *= rng.uniform(0.92, 1.08)
    return np.array(
        colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0)), dtype=np.float32
    )


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`first` where the weight is 0, `second` where it is 1."""
    return first * (1 - weight) + second * weight
