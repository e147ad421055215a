"""A scored image, small enough to go into a page: the photo as a JPEG, its label maps as compressed arrays."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from vitseg.classes import IGNORE_INDEX

CONFIDENCE_LEVELS = 20
"""Steps of equal width in which a confidence is kept: 5 percent each, finer than the eye tells."""

SMALLEST_SIDE = 64
"""Pixels of the long side below which nothing is shrunk further."""


@dataclass(frozen=True)
class Thumbnail:
    """An image with its label maps, all of one reduced size.

    Maps are zlib streams of one value per pixel, row by row: unsigned 8-bit, or 16-bit little-endian where a class
    index needs it (see `index_type`). Whoever shows them can colour classes, errors or the pixels of one confusion from
    the same few bytes.

    Attributes:
        size: (height, width) in pixels.
        image: JPEG.
        labels: Class index; `num_classes` where a pixel is ignored.
        prediction: Class index.
        confidence: Level in [0, CONFIDENCE_LEVELS), always 8-bit; None if it is not known.
    """

    size: tuple[int, int]
    image: bytes
    labels: bytes
    prediction: bytes
    confidence: bytes | None

    @property
    def num_bytes(self) -> int:
        """What the four take together."""
        parts = (self.image, self.labels, self.prediction, self.confidence or b"")
        return sum(len(part) for part in parts)


def index_type(num_classes: int) -> str:
    """NumPy name of the type that holds a class index and the mark of ignored pixels, which is `num_classes`."""
    return "u1" if num_classes <= 255 else "<u2"


def make_thumbnail(
    image: UInt8[np.ndarray, "H W 3"],
    labels: Integer[np.ndarray, "H W"],
    prediction: Integer[np.ndarray, "H W"],
    confidence: Float[np.ndarray, "H W"] | None,
    *,
    num_classes: int,
    long_side: int,
    max_bytes: int,
) -> Thumbnail:
    """Shrink and compress; nothing is enlarged.

    Args:
        image: RGB.
        labels: Class index, or IGNORE_INDEX.
        prediction: Class index.
        confidence: Probability of the predicted class, in [0, 1].
        num_classes: Classes.
        long_side: Most pixels of the longer side.
        max_bytes: Most bytes; maps that compress badly are shrunk further, but not below SMALLEST_SIDE.
    """
    labels = np.where(labels == IGNORE_INDEX, num_classes, labels)
    maps = [labels.astype(index_type(num_classes)), prediction.astype(index_type(num_classes))]
    if confidence is not None:
        levels = (confidence * CONFIDENCE_LEVELS).clip(0, CONFIDENCE_LEVELS - 1)
        maps.append(levels.astype("u1"))
    while True:
        thumbnail = _shrunk(Image.fromarray(image), maps, long_side)
        if thumbnail.num_bytes <= max_bytes or long_side <= SMALLEST_SIDE:
            return thumbnail
        long_side = max(SMALLEST_SIDE, round(0.8 * long_side))


def _shrunk(image: Image.Image, maps: list[np.ndarray], long_side: int) -> Thumbnail:
    scale = min(1.0, long_side / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    buffer = io.BytesIO()
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)
    small.save(buffer, format="JPEG", quality=84)
    # The pixel in the middle of each cell: a mean of class indices would be another class.
    rows = ((np.arange(height) + 0.5) * (image.height / height)).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * (image.width / width)).astype(np.intp)
    streams = [zlib.compress(full[np.ix_(rows, columns)].tobytes(), 9) for full in maps]
    confidence = streams[2] if len(streams) == 3 else None
    return Thumbnail((height, width), buffer.getvalue(), streams[0], streams[1], confidence)
