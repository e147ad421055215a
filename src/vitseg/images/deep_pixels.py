"""Pictures of more than 8 bits a sample, of whose colours Pillow would keep 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt16

from vitseg.errors import DataError
from vitseg.images.decoded import Decoded, over_white, require_pixels
from vitseg.images.depth import jpeg2000_depth
from vitseg.images.orientation import upright
from vitseg.images.pillow_reader import DEEP_FORMATS
from vitseg.images.png_chunks import significant_bits
from vitseg.images.sources import (
    DECODE_ERRORS,
    damaged,
    exif_orientation,
    pillow_header,
    quiet,
    require_plausible,
)
from vitseg.images.stated_range import limits_of_values, range_notices
from vitseg.images.value_range import FULL, Declared, ValueRange, to_bytes


class DeepColors(NamedTuple):
    """A picture of 16 bits as its own values, upright.

    Attributes:
        colors: Its colours, or its grey.
        alpha: Its alpha, where it has one.
        stated: The range that its header states.
        significant_bits: Of a PNG that says so.
    """

    colors: UInt16[np.ndarray, "H W c"]
    alpha: UInt16[np.ndarray, "H W"] | None = None
    stated: ValueRange | None = None
    significant_bits: int | None = None


def deep_reader(
    file: BinaryIO, name: str, file_format: str
) -> Callable[[int, Declared], Decoded] | None:
    """What decodes colours of 16 bits to 8 by their range; None for all other pictures, see `deep_colors`."""
    values = deep_colors(file, name, file_format)
    if values is None:
        return None

    def read(max_pixels: int, declared: Declared) -> Decoded:
        colors, alpha, stated, bits = values(max_pixels)
        found = limits_of_values(colors, "uint16", name, declared, stated, bits)
        rgb = to_bytes(colors, found.limits)
        rgb = rgb if rgb.shape[2] == 3 else np.repeat(rgb, 3, axis=2)
        if alpha is not None:
            rgb = over_white(rgb, to_bytes(alpha, ValueRange(0, FULL)), premultiplied=False)
        size = (rgb.shape[0], rgb.shape[1])
        return Decoded(rgb, size, range_notices(found), found, has_alpha=alpha is not None)

    return read


def deep_colors(file: BinaryIO, name: str, file_format: str) -> Callable[[int], DeepColors] | None:
    """What decodes colours of 16 bits, of which Pillow itself keeps the upper 8, within a number of pixels.

    None for all other pictures.

    Raises:
        DataError: JPEG 2000 of more than 8 bits, of which Pillow keeps 8; or a damaged header.
    """
    if file_format not in DEEP_FORMATS:
        return None
    place = file.tell()
    head = file.read(64)
    file.seek(place)
    if file_format == "PNG" and head[24:25] == b"\x10" and head[25:26] in (b"\2", b"\4", b"\6"):
        return lambda max_pixels: _png_values(file, name, max_pixels)
    if file_format == "PPM" and head[:2] in (b"P6", b"P3"):
        return _ppm_values(file, name)
    if file_format == "JPEG2000":
        _require_shallow(file, name)
    return None


def _png_values(file: BinaryIO, name: str, max_pixels: int) -> DeepColors:
    """A PNG of colours, or grey with alpha, of 16 bits: read twice, once for either byte of the samples."""
    file.seek(0)
    with pillow_header(file, name, "PNG") as image:
        require_pixels(name, (image.height, image.width), max_pixels)
        require_plausible(image, file, name)
        stored = image.mode
        # Grey with alpha has four bytes a pixel: as many as 8-bit RGBA.
        grey_alpha = str(image.tile[0].args) == "LA;16B"
        try:
            with quiet():
                if grey_alpha:
                    image._mode = "RGBA"
                    image.tile = [tile._replace(args="RGBA") for tile in image.tile]
                image.load()
            orientation = exif_orientation(image, name)
            upper = np.array(image)
            transparent = image.info.get("transparency")
        except DECODE_ERRORS as error:
            raise damaged(name, error) from error
    if grey_alpha:
        values = upper.astype(np.uint16)
        values = values[..., 0::2] << 8 | values[..., 1::2]  # (H, W, 2)
    else:
        values = upper.astype(np.uint16)
        del upper  # of a large picture each copy counts
        values <<= 8
        values |= _lower_bytes(file, name, stored)
    values = upright(values, orientation)
    colors, alpha = (values, None) if stored == "RGB" else (values[..., :-1], values[..., -1])
    if isinstance(transparent, tuple) and alpha is None:
        opaque = (colors != np.array(transparent, np.uint16)).any(-1)
        alpha = opaque.astype(np.uint16) * np.uint16(FULL)
    return DeepColors(colors, alpha, significant_bits=significant_bits(file))


def _lower_bytes(file: BinaryIO, name: str, mode: str) -> np.ndarray:
    """The lower byte of every 16-bit sample of a PNG."""
    file.seek(0)
    with pillow_header(file, name, "PNG") as image:
        image.tile = [tile._replace(args=f"{mode};16L") for tile in image.tile]
        try:
            with quiet():
                image.load()
        except DECODE_ERRORS as error:
            raise damaged(name, error) from error
        return np.array(image)


def _ppm_values(file: BinaryIO, name: str) -> Callable[[int], DeepColors] | None:
    """What reads a binary PPM of two bytes a sample; None for others, of which Pillow keeps all that counts."""
    with pillow_header(file, name, "PPM") as image:
        tile, size = image.tile[0], (image.height, image.width)
        args = tile.args if isinstance(tile.args, tuple) else ()
    file.seek(0)
    largest = args[-1] if args and isinstance(args[-1], int) else 0
    if tile.codec_name != "ppm" or image.mode != "RGB" or largest <= 255:
        return None

    def read(max_pixels: int) -> DeepColors:
        require_pixels(name, size, max_pixels)
        file.seek(tile.offset)
        num_bytes = size[0] * size[1] * 6
        content = file.read(num_bytes)
        if len(content) < num_bytes:
            raise DataError(f"{name} is damaged or incomplete: its pixels end early.")
        values = np.frombuffer(content, ">u2").astype(np.uint16).reshape(*size, 3)
        return DeepColors(values, stated=ValueRange(0, largest) if largest < FULL else None)

    return read


def _require_shallow(file: BinaryIO, name: str) -> None:
    """Raise DataError for JPEG 2000 of more than 8 bits, of which Pillow keeps the upper 8."""
    depth = jpeg2000_depth(file)
    if depth > 8:
        raise DataError(
            f"{name} has {depth}-bit JPEG 2000 pixels, which are read with rasterio only: pip install 'vitseg[geo]'. "
            "Or save it as 8-bit RGB."
        )
