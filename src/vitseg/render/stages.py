"""Stages as pictures: which parts of an image were settled by which exit or task, and its labels there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from vitseg.render.explain import FONT_SIZE, GAP, SOFT_TEXT, cell_size, draw_text, new_strip

DIMMED = 0.35
"""Brightness of what is not settled; what is, is as bright as it is, as in DToP's figures."""


@dataclass(frozen=True)
class StagePictures:
    """One column of a sheet.

    Attributes:
        title: Which stage.
        note: A short line below.
        settled: What the stage has settled, at the image's size.
        overlay: The image with the labels of this stage painted over it, of any size.
    """

    title: str
    note: str
    settled: Bool[np.ndarray, "H W"]
    overlay: Image.Image


def stages_sheet(
    image: UInt8[np.ndarray, "H W 3"], columns: Sequence[StagePictures]
) -> Image.Image:
    """Draw the sheet: the image, then for each stage what it has settled (bright) and the labels below.

    Args:
        image: RGB.
        columns: The stages, in their order.
    """
    height, width = cell_size(image.shape[:2])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    line = 2 * FONT_SIZE
    step = max(width, 200) + GAP
    sheet = new_strip((len(columns) + 1) * step + GAP, 2 * (height + GAP) + 2 * line + GAP)
    tops = (GAP + line, GAP + line + height + GAP)
    sheet.paste(small, (GAP, tops[0]))
    draw_text(sheet, (GAP, GAP), "image")
    for number, column in enumerate(columns, start=1):
        left = GAP + number * step
        draw_text(sheet, (left, GAP), column.title)
        sheet.paste(_dimmed(small, column.settled), (left, tops[0]))
        overlay = column.overlay.resize(small.size, Image.Resampling.LANCZOS)
        sheet.paste(overlay, (left, tops[1]))
        draw_text(sheet, (left, tops[1] + height), column.note, SOFT_TEXT)
    return sheet


def _dimmed(small: Image.Image, settled: Bool[np.ndarray, "H W"]) -> Image.Image:
    """The picture, dark where nothing is settled."""
    mask = Image.fromarray(settled).resize(small.size, Image.Resampling.NEAREST)
    picture = Image.blend(Image.new("RGB", small.size), small, DIMMED)
    picture.paste(small, mask=mask)
    return picture
