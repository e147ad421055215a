"""A segmentation painted over its image, with a legend of the classes that occur."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.errors import ConfigError
from vitseg.render.hatching import has_alike, hatchings, line_color, period_of, stripes
from vitseg.render.palette import IGNORE_COLOR, colorize

LEGEND_BACKGROUND = (250, 250, 248)
LEGEND_TEXT = (32, 33, 36)
LEGEND_OUTLINE = (150, 152, 156)
LONGEST_NAME = 36
"""Characters of a class name in a legend; longer names are cut."""


class LegendEntry(NamedTuple):
    """One class that occurs: its colour, its text, which ends in the class' share of the image, and its hatching."""

    color: Color
    text: str
    pattern: int = 0


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"],
    label_map: Integer[np.ndarray, "_ _"],
    classes: ClassTable,
    opacity: float,
    legend: bool,
) -> Image.Image:
    """Paint the classes over the image, with thin lines between them.

    Where two classes of the image have colours that look alike, all but the first of them are hatched.

    The legend adds rows below the image. An image narrower than one legend entry gets a margin on its right, so that
    no name is cut by a small image.

    Args:
        image: The image, RGB.
        label_map: Class index of every pixel, or IGNORE_INDEX (painted black, "ignored" in the legend).
        classes: Names and colours.
        opacity: Weight of the class colour over the image, in [0, 1]; at 0 the image is left as it is.
        legend: Whether to add the legend.

    Raises:
        ConfigError: The opacity is outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(
            f"opacity is {opacity}, but must be in [0, 1]: 0 shows the image only, 1 the classes only."
        )
    assert image.shape[:2] == label_map.shape, (
        f"image {image.shape[:2]}, label map {label_map.shape}"
    )
    height, width = label_map.shape
    painted = Image.blend(
        Image.fromarray(image), Image.fromarray(colorize(label_map, classes)), opacity
    )
    _hatch(painted, label_map, classes, opacity)
    thickness = max(1, round(math.sqrt(height * width) / 900))
    lines = Image.fromarray(
        class_boundaries(label_map, thickness).astype(np.uint8) * round(200 * opacity)
    )
    painted.paste((255, 255, 255), mask=lines)
    return append_legend(painted, legend_entries(label_map, classes)) if legend else painted


def _hatch(
    painted: Image.Image, label_map: np.ndarray, classes: ClassTable, opacity: float
) -> None:
    """Draw the lines of the classes that look like others, into the picture."""
    if not has_alike(classes):
        return
    counts = np.bincount(label_map.reshape(-1).astype(np.int64) - IGNORE_INDEX)
    present = np.flatnonzero(counts) + IGNORE_INDEX
    period = period_of(label_map.shape)
    for index, pattern in hatchings(present, classes).items():
        lines = (label_map == index) & stripes(label_map.shape, pattern, period)
        mask = Image.fromarray(lines.astype(np.uint8) * round(200 * opacity))
        painted.paste(line_color(classes.palette[index]), mask=mask)


def class_boundaries(
    label_map: Integer[np.ndarray, "H W"], thickness: int = 1
) -> Bool[np.ndarray, "H W"]:
    """Pixels whose right or lower neighbour has another class.

    Args:
        label_map: Class index of every pixel.
        thickness: Width of the lines, in pixels; even values are drawn one pixel wider.
    """
    boundary = np.zeros(label_map.shape, dtype=bool)
    boundary[:, :-1] |= label_map[:, :-1] != label_map[:, 1:]
    boundary[:-1, :] |= label_map[:-1, :] != label_map[1:, :]
    if thickness > 1:
        for axis in (0, 1):
            boundary = _widened(boundary, thickness // 2, axis)
    return boundary


def _widened(lines: Bool[np.ndarray, "H W"], reach: int, axis: int) -> Bool[np.ndarray, "H W"]:
    """Pixels with a line within `reach` pixels along an axis."""
    wide = lines.copy()
    for step in range(1, min(reach, lines.shape[axis] - 1) + 1):
        fore, back = [slice(None)] * 2, [slice(None)] * 2
        fore[axis], back[axis] = slice(step, None), slice(None, -step)
        wide[tuple(fore)] |= lines[tuple(back)]
        wide[tuple(back)] |= lines[tuple(fore)]
    return wide


def legend_entries(label_map: Integer[np.ndarray, "H W"], classes: ClassTable) -> list[LegendEntry]:
    """The classes that occur, largest first; ignored pixels come last."""
    counts = np.bincount(
        label_map.reshape(-1).astype(np.int64) - IGNORE_INDEX, minlength=classes.num_classes + 1
    )
    num_ignored, counts = int(counts[0]), counts[1:]
    entries = []
    patterns = hatchings(np.flatnonzero(counts), classes)
    for index in np.argsort(-counts, kind="stable"):
        if counts[index]:
            name, share = classes.names[index], int(counts[index]) / label_map.size
            if len(name) > LONGEST_NAME:
                name = name[: LONGEST_NAME - 1] + "…"
            pattern = patterns.get(int(index), 0)
            entries.append(
                LegendEntry(classes.palette[index], f"{name} {_percent(share)}", pattern)
            )
    if num_ignored:
        entries.append(
            LegendEntry(IGNORE_COLOR, f"ignored {_percent(num_ignored / label_map.size)}")
        )
    return entries


def append_legend(image: Image.Image, entries: list[LegendEntry]) -> Image.Image:
    """Add a legend below an image, in as many columns as fit its width.

    Args:
        image: Any image; the letters grow with its size.
        entries: What to list, row by row.
    """
    font_size = round(min(max(math.sqrt(image.width * image.height) / 44, 12), 72))
    font = ImageFont.load_default(size=font_size)
    text_width = max(math.ceil(font.getlength(entry.text)) for entry in entries)
    gap = font_size // 2
    swatch = font_size
    row_height = round(font_size * 1.6)
    column_width = swatch + gap + text_width + 2 * gap
    num_columns = min(max(1, (image.width - gap) // column_width), len(entries))
    num_rows = math.ceil(len(entries) / num_columns)

    width = max(image.width, gap + num_columns * column_width)
    sheet = Image.new(
        "RGB", (width, image.height + num_rows * row_height + 2 * gap), LEGEND_BACKGROUND
    )
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, entry in enumerate(entries):
        row, column = divmod(number, num_columns)
        left = gap + column * column_width
        middle = image.height + gap + row * row_height + row_height // 2
        box = (left, middle - swatch // 2, left + swatch, middle - swatch // 2 + swatch)
        draw.rectangle(box, fill=entry.color, outline=LEGEND_OUTLINE, width=max(1, font_size // 16))
        if entry.pattern:
            lines = stripes((swatch - 2, swatch - 2), entry.pattern, max(6, swatch // 3))
            mask = Image.fromarray(lines.astype(np.uint8) * 200)
            sheet.paste(line_color(entry.color), (box[0] + 1, box[1] + 1), mask)
        draw.text(
            (left + swatch + gap, middle), entry.text, fill=LEGEND_TEXT, font=font, anchor="lm"
        )
    return sheet


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"
