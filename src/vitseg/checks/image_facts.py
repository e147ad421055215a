"""What the check knows of an image file by itself, whatever its mask: here facts of pictures are added.

A fact is a field of `ImageFacts`, filled by `examine_image` from the one decoded copy; `image_rules` says what is wrong
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitseg.checks.fingerprint import Fingerprint, hash_source, perceptual_hash
from vitseg.checks.pixel_facts import PixelFacts
from vitseg.images.decode import MAX_PIXELS, read_header
from vitseg.images.reader import decode as read_image
from vitseg.images.value_range import Unstated
from vitseg.types import Size

_HASH_SIZE = (64, 64)


class ValueRange(NamedTuple):
    """The darkest and the brightest value of any channel, in [0, 255], as models get them."""

    low: int
    high: int


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one image.

    Attributes:
        size: (height, width).
        fingerprint: Fingerprint of the image, without that of a mask; None where pixels were not looked at.
        values: The range of its values; None likewise.
        pixels: How its pixels are stored; None likewise.
        orientation: The tag, 1 to 8, by which it is turned upright.
    """

    size: Size
    fingerprint: Fingerprint | None = None
    values: ValueRange | None = None
    pixels: PixelFacts | None = None
    orientation: int = 1


def examine_image(source: Path | bytes, quick: bool) -> ImageFacts:
    """Read an image once; raises DataError or OSError if that fails.

    Args:
        source: A file, or its content.
        quick: Whether to read the header alone.
    """
    header = read_header(source)
    if quick:
        return ImageFacts(header.size, orientation=header.orientation)
    decoded = read_image(source, _HASH_SIZE, MAX_PIXELS, Unstated.OWN_VALUES)
    image, size = decoded.pixels, decoded.size
    value, thumbnail = perceptual_hash(image)
    return ImageFacts(
        size,
        Fingerprint(hash_source(source), 0, value, thumbnail),
        _value_range(image),
        PixelFacts.of(decoded),
        header.orientation,
    )


def _value_range(image: UInt8[np.ndarray, "H W 3"]) -> ValueRange:
    return ValueRange(int(image.min()), int(image.max()))
