"""NRD's cells as pictures: where they lie, what their networks read, and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vitseg.render.explain import FONT_SIZE, GAP, cell_size, draw_text, new_strip

LINE = (255, 255, 255)


@dataclass(frozen=True)
class CellPicture:
    """One picture of a sheet.

    Attributes:
        title: What it shows.
        picture: RGB, over the image as it was run, of any resolution.
        is_smooth: Whether it may be blurred when it is resized; labels and coordinates may not.
    """

    title: str
    picture: UInt8[np.ndarray, "h w 3"]
    is_smooth: bool = True


def cells_sheet(
    pictures: Sequence[CellPicture], input_size: tuple[int, int], cell: int
) -> Image.Image:
    """Draw the pictures side by side, the borders of the cells over each.

    Args:
        pictures: Pictures, from left to right.
        input_size: (height, width) in pixels at which the image was run.
        cell: Side of a cell, in the same pixels.
    """
    height, width = cell_size(input_size)
    line = 2 * FONT_SIZE
    step = max(width, 200) + GAP
    sheet = new_strip(len(pictures) * step + GAP, height + line + 2 * GAP)
    for number, picture in enumerate(pictures):
        left = GAP + number * step
        draw_text(sheet, (left, GAP), picture.title)
        how = Image.Resampling.LANCZOS if picture.is_smooth else Image.Resampling.NEAREST
        drawn = Image.fromarray(picture.picture).resize((width, height), how)
        _draw_borders(drawn, input_size, cell)
        sheet.paste(drawn, (left, GAP + line))
    return sheet


def _draw_borders(drawn: Image.Image, input_size: tuple[int, int], cell: int) -> None:
    height, width = input_size
    pen = ImageDraw.Draw(drawn)
    for x in range(cell, width, cell):
        place = round(x * drawn.width / width)
        pen.line([(place, 0), (place, drawn.height)], fill=LINE)
    for y in range(cell, height, cell):
        place = round(y * drawn.height / height)
        pen.line([(0, place), (drawn.width, place)], fill=LINE)
