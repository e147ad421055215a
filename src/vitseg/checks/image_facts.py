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

from vitseg.checks.band_facts import BandsOfImage, bands_of_image
from vitseg.checks.fingerprint import Fingerprint, hash_source, perceptual_hash
from vitseg.checks.pixel_facts import PixelFacts
from vitseg.images.band_reader import decode_bands
from vitseg.images.bands import Bands, to_rgb
from vitseg.images.decode import MAX_PIXELS, Header, read_header
from vitseg.images.reader import decode as read_image
from vitseg.images.value_range import Unstated
from vitseg.images.value_range import ValueRange as Limits
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
        bands: Its bands, where some are chosen and pixels were looked at; `values` and `pixels` are None then.
    """

    size: Size
    fingerprint: Fingerprint | None = None
    values: ValueRange | None = None
    pixels: PixelFacts | None = None
    orientation: int = 1
    bands: BandsOfImage | None = None


def examine_image(source: Path | bytes, quick: bool, bands: Bands | None = None) -> ImageFacts:
    """Read an image once, or twice where bands are chosen; raises DataError or OSError if that fails.

    Args:
        source: A file, or its content.
        quick: Whether to read the header alone.
        bands: The bands that are chosen.
    """
    header = read_header(source)
    if quick:
        return ImageFacts(header.size, orientation=header.orientation)
    if bands is not None:
        return _of_bands(source, bands, header)
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


def _of_bands(source: Path | bytes, bands: Bands, header: Header) -> ImageFacts:
    found = bands_of_image(source, bands)
    decoded = decode_bands(source, bands.read_by(_range_of(found)))
    value, thumbnail = perceptual_hash(to_rgb(decoded.pixels, bands))
    return ImageFacts(
        decoded.size,
        Fingerprint(hash_source(source), 0, value, thumbnail),
        orientation=header.orientation,
        bands=found,
    )


def _range_of(found: BandsOfImage) -> Limits | None:
    """Some range for values of which nothing states one, so that they can be looked at."""
    deep = [fact for fact in found.chosen if fact.words != "uint8" and fact.low <= fact.high]
    low, high = min((f.low for f in deep), default=0), max((f.high for f in deep), default=1)
    return Limits(low, high if high > low else low + 1)


def _value_range(image: UInt8[np.ndarray, "H W 3"]) -> ValueRange:
    return ValueRange(int(image.min()), int(image.max()))
