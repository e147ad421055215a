"""What every reader makes of a picture: 8-bit RGB or chosen bands, within a number of pixels, nothing transparent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images.georeference import Georeference
from vitseg.images.pixel_source import Notice
from vitseg.images.value_range import PictureValues

MAX_PIXELS = 150_000_000
"""Default limit of height * width of a file: about 450 MB once decoded to RGB."""

_PIXELS_AT_ONCE = 4_000_000  # laid over white


class Decoded(NamedTuple):
    """A whole picture.

    Attributes:
        pixels: RGB, or the chosen bands, upright; smaller than the picture where that was asked for.
        size: (height, width) of the whole picture.
        notices: What was decided about its pixels.
        values: Its values, if they have more than 8 bits.
        has_alpha: Whether it has transparency, be it used or not.
        georeference: Where it lies, if it is a map and that was asked for.
        valid: Which pixels hold data, where that was asked for; None: all.
    """

    pixels: UInt8[np.ndarray, "_ _ c"]
    size: tuple[int, int]
    notices: tuple[Notice, ...]
    values: PictureValues | None = None
    has_alpha: bool = False
    georeference: Georeference | None = None
    valid: Bool[np.ndarray, "_ _"] | None = None


def require_pixels(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Raise DataError for a picture of more pixels than are decoded."""
    height, width = size
    if height * width > max_pixels:
        raise DataError(
            f"{name} is {width}x{height} = {width * height:,} pixels, but at most "
            f"{max_pixels:,} are decoded. Scale it down or raise max_pixels."
        )


def over_white(
    colors: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"], premultiplied: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """Colours laid over white.

    Args:
        colors: RGB.
        alpha: 0 is transparent, 255 opaque.
        premultiplied: Whether the colours are multiplied by alpha already.
    """
    if alpha.min(initial=255) == 255:
        return colors
    result = np.empty_like(colors)
    rows = max(1, _PIXELS_AT_ONCE // max(1, colors.shape[1]))
    for start in range(0, len(colors), rows):
        part = slice(start, start + rows)
        share = alpha[part, :, None].astype(np.uint16)
        white = 255 * (255 - share)
        mixed = colors[part].astype(np.uint16) * (255 if premultiplied else share) + white
        result[part] = (mixed.clip(0, 255 * 255) + 127) // 255
    return result
