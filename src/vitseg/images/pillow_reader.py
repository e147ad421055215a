"""Pictures that Pillow decodes, as 8-bit RGB by the rules of all readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from vitseg.errors import DataError
from vitseg.images.decoded import Decoded, require_pixels
from vitseg.images.jpeg_scans import require_few_scans
from vitseg.images.orientation import on_its_side
from vitseg.images.pixel_source import BANDS_LEFT_OUT, FIRST_FRAME, Notice, pages_notice
from vitseg.images.png_chunks import significant_bits
from vitseg.images.sources import (
    DECODE_ERRORS,
    NotForPillowError,
    damaged,
    exif_orientation,
    pillow_header,
    quiet,
    require_plausible,
    too_large,
)
from vitseg.images.stated_range import is_deep, limits_of_values, of_bits, range_notices
from vitseg.images.tiff_tags import MAX_PAGES, MIN_IS_WHITE, TiffTags, read_tags
from vitseg.images.value_range import FULL, Declared, ValueRange, to_bytes

DEEP_FORMATS = ("PNG", "PPM", "JPEG2000")
"""Formats of which Pillow keeps the upper 8 bits where colours have more."""


@contextmanager
def pillow_image(
    file: BinaryIO,
    name: str,
    file_format: str,
    max_pixels: int,
    at_least: tuple[int, int] | None = None,
) -> Iterator[tuple[ImageFile, tuple[int, int]]]:
    """The decoded, upright Pillow image of a file that is within the limits, and the (height, width) of the whole.

    Raises:
        DataError: It is damaged or passes a limit.
    """
    with pillow_header(file, name, file_format) as image:
        width, height = image.size
        require_pixels(name, (height, width), max_pixels)
        require_plausible(image, file, name)
        sideways = False
        try:
            if isinstance(image, JpegImageFile):
                require_few_scans(file, name)
                if at_least is not None:
                    sideways = on_its_side(exif_orientation(image, name))
                    rows, columns = at_least
                    image.draft(None, (rows, columns) if sideways else (columns, rows))
            drafted = image.size != (width, height)
            with quiet():
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
        except Image.DecompressionBombError as error:
            raise too_large(name, error) from error
        except DECODE_ERRORS as error:
            raise damaged(name, error) from error
        if drafted:
            yield image, (width, height) if sideways else (height, width)
        else:
            yield image, (image.height, image.width)


def decode_with_pillow(
    file: BinaryIO,
    name: str,
    file_format: str,
    max_pixels: int,
    at_least: tuple[int, int] | None = None,
    declared: Declared = None,
) -> Decoded:
    """A whole picture.

    Args:
        file: The open file, at its start.
        name: What errors call it.
        file_format: As `sources.start_of` gives it.
        max_pixels: Largest height * width.
        at_least: (height, width) that a JPEG's reduced size may not fall below; None: the whole.
        declared: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: It is damaged, passes a limit, or nothing says which values are black and white.
    """
    tags = read_tags(file) if file_format == "TIFF" else None
    if tags is not None and tags.bands >= 3 and tags.bits > 8:
        raise NotForPillowError(name, tags)  # Pillow would drop the lower bits
    if file_format in DEEP_FORMATS:
        from vitseg.images.deep_pixels import deep_reader

        deep = deep_reader(file, name, file_format)
        if deep is not None:
            return deep(max_pixels, declared)
    with pillow_image(file, name, file_format, max_pixels, at_least) as (image, size):
        notices = pages_of(image, tags)
        if is_deep(image.mode):
            return _deep_grey(image, file, name, file_format, tags, declared, size, notices)
        if tags is not None and image.mode == "RGBA" and not tags.has_alpha:
            notices.append(
                Notice(
                    BANDS_LEFT_OUT,
                    "of 4 bands the first three are taken for red, green and blue; the 4th, which is not tagged as "
                    "alpha, is left out",
                )
            )
            return Decoded(np.array(image)[..., :3].copy(), size, tuple(notices))
        has_alpha = image.has_transparency_data
        return Decoded(rgb_of(image, name), size, tuple(notices), has_alpha=has_alpha)


def to_rgb(image: Image.Image, name: str, declared: Declared = None) -> Decoded:
    """The pixels of an upright picture of any mode.

    Transparent pixels are laid over white; more than 8 bits are read by the declared range or the values.

    Args:
        image: The picture.
        name: What the error calls it.
        declared: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: Floating-point pixels, or grey values beyond 16 bits, without a range.
    """
    size = (image.height, image.width)
    if not is_deep(image.mode):
        return Decoded(rgb_of(image, name), size, ())
    values = _grey_values(image)
    found = limits_of_values(values, image.mode, name, declared, None)
    return Decoded(_grey(to_bytes(values, found.limits)), size, range_notices(found), found)


def rgb_of(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """RGB of a picture of 8 bits, transparent pixels laid over white."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.array(image)
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise DataError(
            f"{name} has colour mode {image.mode}, which cannot be converted to RGB."
        ) from error


def pages_of(image: ImageFile, tags: TiffTags | None) -> list[Notice]:
    """The notice that there are further pages or frames; none where there is one."""
    if tags is not None:
        return [pages_notice(tags.pages, MAX_PAGES)] if tags.pages > 1 else []
    if image.format in ("JPEG", "PPM", "BMP"):
        return []
    try:
        moving = bool(getattr(image, "is_animated", False))
    except DECODE_ERRORS:
        moving = False
    return [Notice(FIRST_FRAME, "an animation: its first frame is read")] if moving else []


def _deep_grey(
    image: ImageFile,
    file: BinaryIO,
    name: str,
    file_format: str,
    tags: TiffTags | None,
    declared: Declared,
    size: tuple[int, int],
    notices: list[Notice],
) -> Decoded:
    """One channel of more than 8 bits."""
    values = _grey_values(image)
    stated = noted = None
    if tags is not None:
        stated = of_bits(tags.bits)
        noted = None if tags.sample_range is None else ValueRange(*tags.sample_range)
    elif file_format == "PPM" and _scaled_by_pillow(file, name):
        stated = ValueRange(0, FULL)  # Pillow has applied the file's largest value
    bits = significant_bits(file) if file_format == "PNG" else None
    words = tags.pixels if tags is not None else image.mode
    found = limits_of_values(values, words, name, declared, stated, bits, noted)
    grey = to_bytes(values, found.limits)
    if tags is not None and tags.photometric == MIN_IS_WHITE:
        grey = 255 - grey
    return Decoded(_grey(grey), size, (*notices, *range_notices(found)), found)


def _grey_values(image: Image.Image) -> np.ndarray:
    values = np.array(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _grey(grey: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _scaled_by_pillow(file: BinaryIO, name: str) -> bool:
    """Whether a PGM gives another largest value than that of its type, to which Pillow has scaled the others."""
    file.seek(0)
    with pillow_header(file, name, "PPM") as image:
        args = image.tile[0].args
    return isinstance(args, tuple) and args[-1] != FULL
