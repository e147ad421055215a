"""Masks as heat maps over their image: one row per class, one column per stage of a decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from vitseg.classes import Color

BACKGROUND = (250, 250, 248)
TEXT = (32, 33, 36)
SOFT_TEXT = (104, 109, 115)
OUTLINE = (150, 152, 156)

COLORS = (
    (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84),
    (221, 81, 58), (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
)  # fmt: skip
"""Colours of 0, 0.1, ... 1: samples of "inferno", whose lightness grows evenly (van der Walt and Smith, CC0)."""

HEAT_OPACITY = 0.7
"""Weight of the colour over the grey image."""

LARGEST_CELL = (200, 320)
"""(height, width) within which every picture of a sheet fits, in pixels."""

NARROWEST_COLUMN = 150
LONGEST_COLOR_BAR = 460
NAME_WIDTH = 190
FONT_SIZE = 15
GAP = 12
LONGEST_NAME = 22
"""Characters of a class name; longer names are cut."""


@dataclass(frozen=True)
class ClassMasks:
    """One row of a sheet.

    Attributes:
        name: Name of the class.
        color: Colour of the class.
        probability: That the class is in the image, in [0, 1].
        area: Share of the pixels that are labelled so, in [0, 1].
        masks: One per column, in [0, 1], each of the image's shape at any scale.
        notes: A short line below each mask.
        region: Where the label map has the class, at the image's size.
    """

    name: str
    color: Color
    probability: float
    area: float
    masks: Sequence[Float[np.ndarray, "_ _"]]
    notes: Sequence[str]
    region: Bool[np.ndarray, "H W"]


def heat_map(
    image: UInt8[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A mask in colours over its image in grey.

    Args:
        image: RGB.
        mask: Values in [0, 1].
    """
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)[..., None]
    heat = (1 - HEAT_OPACITY) * grey + HEAT_OPACITY * colors_of(mask)
    return np.rint(heat).astype(np.uint8)


def colors_of(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """The colours of values in [0, 1], linear between the entries of COLORS."""
    table = np.array(COLORS, dtype=np.float32)
    places = np.linspace(0, 1, len(table))
    channels = [np.interp(values, places, table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def explanation_sheet(
    image: UInt8[np.ndarray, "H W 3"],
    overlay: Image.Image,
    headers: Sequence[str],
    rows: Iterable[ClassMasks],
) -> Image.Image:
    """Draw the sheet: the image and its labels on top, then one row per class, then the colour bar.

    Args:
        image: RGB.
        overlay: The image with its labels painted over it, of the same size.
        headers: One per mask of a row.
        rows: The classes, in the order in which they are to be seen; each is drawn before the next is asked for.
    """
    cell = cell_size(image.shape[:2])
    small = Image.fromarray(image).resize((cell[1], cell[0]), Image.Resampling.LANCZOS)
    step = max(cell[1], NARROWEST_COLUMN) + GAP
    lefts = [NAME_WIDTH + 2 * GAP + column * step for column in range(len(headers) + 1)]
    width = lefts[-1] + step
    strips = [_top(small, overlay, lefts, width), _headers(headers, lefts, width)]
    strips += [_row(small, row, lefts, width) for row in rows]
    strips.append(_color_bar(lefts[0], width))
    sheet = Image.new("RGB", (width, GAP + sum(strip.height for strip in strips)), BACKGROUND)
    top = GAP
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _top(small: Image.Image, overlay: Image.Image, lefts: list[int], width: int) -> Image.Image:
    strip = new_strip(width, small.height + 2 * FONT_SIZE + GAP)
    pictures = (small, overlay.resize(small.size, Image.Resampling.LANCZOS))
    for left, picture, name in zip(lefts, pictures, ("image", "labels"), strict=False):
        strip.paste(picture, (left, 0))
        draw_text(strip, (left, small.height), name)
    return strip


def _headers(headers: Sequence[str], lefts: list[int], width: int) -> Image.Image:
    strip = new_strip(width, 2 * FONT_SIZE)
    for left, header in zip(lefts, [*headers, "pixels labelled so"], strict=True):
        draw_text(strip, (left, FONT_SIZE // 3), header)
    return strip


def _row(small: Image.Image, row: ClassMasks, lefts: list[int], width: int) -> Image.Image:
    """What there is to see of one class."""
    strip = new_strip(width, small.height + 2 * FONT_SIZE + GAP)
    _draw_names(strip, row)
    for left, mask, note in zip(lefts[:-1], row.masks, row.notes, strict=True):
        strip.paste(_heat_cell(small, mask), (left, 0))
        draw_text(strip, (left, small.height), note, SOFT_TEXT)
    strip.paste(_region_cell(small, row), (lefts[-1], 0))
    return strip


def new_strip(width: int, height: int) -> Image.Image:
    """An empty picture in the sheets' colour; sizes in pixels."""
    return Image.new("RGB", (width, height), BACKGROUND)


def cell_size(size: tuple[int, ...]) -> tuple[int, int]:
    """The largest (height, width) within LARGEST_CELL of about the same shape, at least one pixel."""
    height, width = size
    scale = min(LARGEST_CELL[0] / height, LARGEST_CELL[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _heat_cell(small: Image.Image, mask: np.ndarray) -> Image.Image:
    values = Image.fromarray(np.asarray(mask, dtype=np.float32))
    resized = np.asarray(values.resize(small.size, Image.Resampling.BILINEAR)).clip(0, 1)
    return Image.fromarray(heat_map(np.asarray(small), resized))


def _region_cell(small: Image.Image, row: ClassMasks) -> Image.Image:
    """The class in its colours on a pale image."""
    region = Image.fromarray(row.region).resize(small.size, Image.Resampling.NEAREST)
    pale = Image.blend(
        small.convert("L").convert("RGB"), Image.new("RGB", small.size, "white"), 0.6
    )
    pale.paste(Image.blend(small, Image.new("RGB", small.size, row.color), 0.35), mask=region)
    return pale


def _draw_names(strip: Image.Image, row: ClassMasks) -> None:
    swatch = (GAP, 3, GAP + FONT_SIZE - 2, FONT_SIZE + 1)
    ImageDraw.Draw(strip).rectangle(swatch, fill=row.color, outline=OUTLINE)
    name = row.name if len(row.name) <= LONGEST_NAME else row.name[: LONGEST_NAME - 1] + "…"
    left, line = GAP + FONT_SIZE + 6, round(1.4 * FONT_SIZE)
    draw_text(strip, (left, 0), name)
    draw_text(strip, (left, line), f"present: {row.probability:.1%}", SOFT_TEXT)
    draw_text(strip, (left, 2 * line), f"{row.area:.1%} of the pixels", SOFT_TEXT)


def _color_bar(left: int, width: int) -> Image.Image:
    """The colours as they look over middle grey, with what 0, 0.5 and 1 mean."""
    length = min(width - left - 2 * GAP, LONGEST_COLOR_BAR)
    values = np.broadcast_to(np.linspace(0, 1, length, dtype=np.float32), (FONT_SIZE, length))
    grey = np.full((FONT_SIZE, length, 3), 128, dtype=np.uint8)
    strip = new_strip(width, 4 * FONT_SIZE)
    strip.paste(Image.fromarray(heat_map(grey, values)), (left, 0))
    for share, words, anchor in (
        (0, "0: against", "la"),
        (0.5, "0.5: undecided", "ma"),
        (1, "1: for the class", "ra"),
    ):
        draw_text(strip, (left + round(share * length), FONT_SIZE + 2), words, SOFT_TEXT, anchor)
    return strip


def draw_text(
    picture: Image.Image,
    place: tuple[int, int],
    text: str,
    color: Color = TEXT,
    anchor: str = "la",
) -> None:
    """Write a line at (left, top); `anchor` is Pillow's."""
    font = ImageFont.load_default(size=FONT_SIZE)
    place = (place[0], place[1] + 3)
    ImageDraw.Draw(picture).text(place, text, fill=color, font=font, anchor=anchor)
