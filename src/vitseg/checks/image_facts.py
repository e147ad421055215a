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
from vitseg.images.decode import read_header, read_image
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
        orientation: The tag, 1 to 8, by which it is turned upright.
    """

    size: Size
    fingerprint: Fingerprint | None = None
    values: ValueRange | None = None
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
    image, size = read_image(source, _HASH_SIZE)
    value, thumbnail = perceptual_hash(image)
    fingerprint = Fingerprint(hash_source(source), 0, value, thumbnail)
    return ImageFacts(size, fingerprint, _value_range(image), header.orientation)


def _value_range(image: UInt8[np.ndarray, "H W 3"]) -> ValueRange:
    return ValueRange(int(image.min()), int(image.max()))
