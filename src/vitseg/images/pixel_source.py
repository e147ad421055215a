"""What an open image is to all who read pixels: a size, rectangles of 8-bit RGB, and what was decided about them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.images.georeference import Georeference
from vitseg.images.value_range import PictureValues, ValueRange
from vitseg.images.window import Window


class Notice(NamedTuple):
    """Something about a picture that was decided for the user, who should know.

    Attributes:
        kind: In hyphened words, the same for all pictures that it happens to: "range-from-values".
        text: What was decided, without the name of the picture: "its 4th band is left out".
        of_many: The same in words that hold for all pictures of the kind: "all bands but three are left out".
        limits: The range that the picture's own values gave, where the notice is about one.
    """

    kind: str
    text: str
    of_many: str = ""
    limits: ValueRange | None = None


@runtime_checkable
class PixelSource(Protocol):
    """An image that hands out rectangles.

    Attributes:
        name: What errors call it.
        size: (height, width) in pixels, upright.
        held_bytes: Memory that it takes as long as it is open.
        has_gaps: Whether there may be pixels without data.
        georeference: Where it lies, if it is a map.
        notices: What was decided about its pixels.
    """

    name: str
    size: tuple[int, int]
    held_bytes: int
    has_gaps: bool
    georeference: Georeference | None
    notices: tuple[Notice, ...]

    def read(self, window: Window) -> UInt8[np.ndarray, "h w c"]:
        """The pixels of a window within the image: RGB, or the chosen bands."""
        ...

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        """Which pixels of a window hold data; None: all of any window (no `has_gaps`)."""
        ...


class DecodedImage:
    """A whole image in memory."""

    def __init__(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        name: str,
        notices: tuple[Notice, ...] = (),
        georeference: Georeference | None = None,
    ):
        self.pixels = pixels
        self.name = name
        self.size = (pixels.shape[0], pixels.shape[1])
        self.held_bytes = pixels.nbytes
        self.has_gaps = False  # transparent pixels were laid over white
        self.georeference = georeference
        self.notices = notices

    def read(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        top, left, height, width = window
        return self.pixels[top : top + height, left : left + width]

    def valid(self, window: Window) -> None:
        """All pixels hold data."""


def valid_of(image: PixelSource) -> Bool[np.ndarray, "H W"] | None:
    """Which pixels of a whole image hold data, read a few rows at a time; None: all."""
    if not image.has_gaps:
        return None
    height, width = image.size
    valid = np.ones((height, width), bool)
    rows = max(1, _PIXELS_AT_ONCE // max(1, width)) // _BLOCK_ROWS * _BLOCK_ROWS or _BLOCK_ROWS
    for top in range(0, height, rows):
        part = image.valid(Window(top, 0, min(rows, height - top), width))
        if part is not None:
            valid[top : top + rows] = part
    return None if valid.all() else valid


_PIXELS_AT_ONCE = 4_000_000
_BLOCK_ROWS = 256  # of which most tiles have a part or a multiple: none is decoded twice

FIRST_PAGE, FIRST_FRAME = "further-pages", "further-frames"
RANGE_FROM_VALUES = "range-from-values"
BANDS_LEFT_OUT = "bands-left-out"


def range_notice(values: PictureValues) -> Notice:
    """The notice about a range that nobody stated."""
    what = f"{values.words} pixels without a stated range"
    return Notice(
        RANGE_FROM_VALUES,
        f"{what}: {values.limits.words()}, by its own values, is taken for black to white",
        f"{what}: each is read by its own values, so brightness cannot be compared between them "
        "(--value-range LOW HIGH reads all alike)",
        values.limits,
    )


def range_needed(name: str, pixels: str) -> str:
    """The sentence about pixels that cannot be read without a stated range."""
    return (
        f"{name} has {pixels} pixels, and nothing says which values are black and white: neither the model's "
        "value_range nor the file (SMinSampleValue and SMaxSampleValue, or GDAL's statistics). State it with "
        "--value-range LOW HIGH, or make it 8 bits: "
        f"gdal_translate -ot Byte -scale LOW HIGH 0 255 {name} scaled.tif"
    )


def pages_notice(pages: int, most: int) -> Notice:
    """The notice about a file of several pages.

    Args:
        pages: As counted.
        most: Where counting stopped.
    """
    number = f"more than {most:,}" if pages >= most else f"{pages:,}"
    text = f"page 1 of {number} is read, and no other"
    return Notice(FIRST_PAGE, text, "files of several pages, of which the first is read")
