"""Image and mask files to arrays. Whatever is wrong with a file becomes one `DataError` that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL.ImageFile import ImageFile

from vitseg.errors import DataError
from vitseg.images import decode_process
from vitseg.images.budget import is_costly, prints_errors
from vitseg.images.decoded import MAX_PIXELS
from vitseg.images.header import Header, header_of
from vitseg.images.mask_raster import raster_colors, raster_ids, several_channels
from vitseg.images.pillow_reader import pages_of, pillow_image
from vitseg.images.reader import decode, open_raster
from vitseg.images.sources import Source, listed, name_of, open_file, start_of
from vitseg.images.suffixes import IMAGE_SUFFIXES
from vitseg.images.tiff_tags import TiffTags, read_tags
from vitseg.images.value_range import Declared

__all__ = [
    "IMAGE_SUFFIXES", "MAX_PIXELS", "Header", "Layers", "decode_color_mask", "decode_image", "decode_layers",
    "decode_mask", "image_size", "read_header", "read_image",
]  # fmt: skip

# The others would change ids: JPEG, WEBP, AVIF, HEIF and JPEG 2000 are lossy, Pillow scales the values of a PPM.
_MASK_FORMATS = ("PNG", "TIFF", "BMP", "GIF")


def decode_image(
    source: Source, max_pixels: int = MAX_PIXELS, value_range: Declared = None
) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB, upright: the EXIF orientation is applied.

    Of an animation the first frame, of a stack the first page. Transparency is composited over white. Pixels of more
    than 8 bits become 8 by `value_range`, the file's metadata or their own values, see `images.value_range`. CMYK is
    converted without a colour profile.

    Args:
        source: A file, or the bytes of one.
        max_pixels: Largest height * width that is decoded, checked on the header.
        value_range: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: The file is missing, empty, damaged or too large, in a format that is not read, of two bands, or of
            floating-point pixels whose black and white nothing states.
    """
    return decode(source, max_pixels=max_pixels, declared=value_range).pixels


def read_image(
    source: Source,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    value_range: Declared = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """The image as `decode_image` gives it, or a smaller version, and the (height, width) of the whole.

    A JPEG can be decoded at a half, a quarter or an eighth of its size in a fraction of the time. Each pixel is then
    the mean of a block.

    Args:
        source: A file, or the bytes of one.
        at_least: (height, width) that the result may not fall below; other formats
            come at their own size. None: the whole image.
        max_pixels: Largest height * width of the whole image, checked on the header.
        value_range: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: As for `decode_image`.
    """
    decoded = decode(source, at_least, max_pixels, value_range)
    return decoded.pixels, decoded.size


def decode_mask(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The ids of an index mask as (H, W) uint8, uint16 or int32, upright like its image.

    Args:
        source: A PNG, TIFF, BMP or GIF file of one channel. Of a palette file the indices are taken,
            not the colours.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: As for `decode_image`; or the file has several pages, frames or channels, or its format changes ids.
    """
    return _mask("mask", source, max_pixels, raster_ids, _ids)


def _ids(image: ImageFile, name: str) -> np.ndarray:
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image, dtype=np.uint8)
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16, copy=False)
    if image.mode == "I":
        return np.array(image, dtype=np.int32)
    if image.mode == "F":
        raise DataError(f"{name} has floating-point pixels, but a mask holds integer ids.")
    raise several_channels(name, len(image.getbands()), f"mode {image.mode}")


def decode_color_mask(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The colours of a colour mask as (H, W) int32, each 0xRRGGBB, upright like its image.

    Args:
        source: A PNG, TIFF, BMP or GIF file; of one with a palette or grey levels, the colours that it shows.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: As for `decode_image`; or the file has several pages or frames, or 16-bit channels, or its format
            changes colours.
    """
    return _mask("colors", source, max_pixels, raster_colors, _colors)


def _colors(image: ImageFile, name: str) -> np.ndarray:
    if image.mode not in ("RGB", "RGBA", "P", "PA", "L", "LA", "1"):
        raise DataError(f"{name} has colour mode {image.mode}, but colour masks have 8-bit RGB.")
    red, green, blue = (np.asarray(band, np.int32) for band in image.convert("RGB").split())
    return red << 16 | green << 8 | blue  # (H, W)


def _mask(
    call: str,
    source: Source,
    max_pixels: int,
    of_raster: Callable[[Any, str, TiffTags, int], np.ndarray],
    of_image: Callable[[ImageFile, str], np.ndarray],
) -> np.ndarray:
    """What a mask holds, read by rasterio, by Pillow or in another process (by the call's name there)."""
    name = name_of(source)
    with open_file(source) as file:
        file_format = _exact_format(start_of(file, name), name)
        tags = read_tags(file) if file_format == "TIFF" else None
        _require_one_page(name, tags)
        if is_costly(file, file_format, tags):
            return decode_process.mask(call, source, max_pixels)
        if tags is not None:
            with open_raster(source, file, file_format, tags) as dataset:
                if dataset is not None:
                    return of_raster(dataset, name, tags, max_pixels)
            if prints_errors(tags):
                return decode_process.mask(call, source, max_pixels)
        with pillow_image(file, name, file_format, max_pixels) as (image, _):
            _require_one_page(name, tags, image)
            return of_image(image, name)


def _require_one_page(name: str, tags: TiffTags | None, image: ImageFile | None = None) -> None:
    if tags is not None and tags.pages > 1:
        what = f"has {tags.pages} pages"
    elif image is not None and pages_of(image, tags):
        what = "is an animation"
    else:
        return
    raise DataError(
        f"{name} {what}, but a mask is one picture: save each by itself, or the classes of all as one mask."
    )


class Layers(NamedTuple):
    """What a picture shows, taken apart.

    Attributes:
        colors: RGB, (H, W, 3) uint8.
        opacity: (H, W) uint8; None where all is opaque.
        indices: Of the palette, (H, W) uint8; None without one.
    """

    colors: np.ndarray
    opacity: np.ndarray | None
    indices: np.ndarray | None


def decode_layers(source: Source, max_pixels: int = MAX_PIXELS) -> Layers:
    """Colours, opacity and indices of an 8-bit picture, upright.

    Args:
        source: A file that Pillow reads, or the bytes of one.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: As for `decode_image`, or the file has several pages or frames.
    """
    name = name_of(source)
    with open_file(source) as file:
        file_format = start_of(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        _require_one_page(name, tags)
        printing = file_format == "TIFF" and prints_errors(tags)
        if printing or is_costly(file, file_format, tags):
            return Layers(*decode_process.layers(source, max_pixels))
        with pillow_image(file, name, file_format, max_pixels) as (image, _):
            _require_one_page(name, tags, image)
            opacity = None
            if image.has_transparency_data:
                opacity = np.asarray(image.convert("RGBA").getchannel("A"))
            indices = np.asarray(image) if image.mode == "P" else None
            return Layers(np.asarray(image.convert("RGB")), opacity, indices)


def _exact_format(file_format: str, name: str) -> str:
    if file_format == "NPY":
        raise DataError(
            f"{name} is an array, but masks are pictures: save it as a PNG, PIL.Image.fromarray(ids).save(...)."
        )
    if file_format not in _MASK_FORMATS:
        raise DataError(
            f"{name} is a {file_format} file, which does not keep ids exactly. "
            f"Save masks as {listed(_MASK_FORMATS)}."
        )
    return file_format


def read_header(source: Source) -> Header:
    """Format, mode, upright (height, width) and orientation of an image file, see `header_of`."""
    return header_of(source)


def image_size(source: Source) -> tuple[int, int]:
    """(height, width) of the upright image, as `read_header` reads it."""
    return header_of(source).size
