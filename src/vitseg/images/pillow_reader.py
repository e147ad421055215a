"""Pictures that Pillow decodes, as 8-bit RGB by the rules of all readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from vitseg.errors import DataError
from vitseg.images.depth import jpeg2000_depth
from vitseg.images.jpeg_scans import require_few_scans
from vitseg.images.orientation import on_its_side, upright
from vitseg.images.pixel_source import (
    BANDS_LEFT_OUT,
    FIRST_FRAME,
    Notice,
    pages_notice,
    range_needed,
    range_notice,
)
from vitseg.images.png_chunks import significant_bits
from vitseg.images.sources import (
    DECODE_ERRORS,
    damaged,
    exif_orientation,
    not_for_pillow,
    pillow_header,
    quiet,
    require_plausible,
    too_large,
)
from vitseg.images.tiff_tags import MAX_PAGES, MIN_IS_WHITE, TiffTags, read_tags
from vitseg.images.value_range import (
    FULL,
    Declared,
    Histogram,
    PictureValues,
    Unstated,
    ValueRange,
    of_significant_bits,
    to_bytes,
)

MAX_PIXELS = 150_000_000
"""Default limit of height * width of a file: about 450 MB once decoded to RGB."""


class Decoded(NamedTuple):
    """A whole picture.

    Attributes:
        pixels: RGB, upright; smaller than the picture where that was asked for.
        size: (height, width) of the whole picture.
        notices: What was decided about its pixels.
        values: Its values, if they have more than 8 bits.
        has_alpha: Whether it has transparency, be it used or not.
    """

    pixels: UInt8[np.ndarray, "_ _ 3"]
    size: tuple[int, int]
    notices: tuple[Notice, ...]
    values: PictureValues | None = None
    has_alpha: bool = False


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


def require_pixels(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Raise DataError for a picture of more pixels than are decoded."""
    height, width = size
    if height * width > max_pixels:
        raise DataError(
            f"{name} is {width}x{height} = {width * height:,} pixels, but at most "
            f"{max_pixels:,} are decoded. Scale it down or raise max_pixels."
        )


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
        raise DataError(not_for_pillow(name, tags))  # Pillow would drop the lower bits
    deep = _deep_reader(file, name, file_format)
    if deep is not None:
        return deep(max_pixels, declared)
    with pillow_image(file, name, file_format, max_pixels, at_least) as (image, size):
        notices = _of_pages(image, tags)
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


def is_deep(mode: str) -> bool:
    """Whether a Pillow mode holds one channel of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


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
    found = _limits_of_values(values, image.mode, name, declared, None)
    return Decoded(_grey(to_bytes(values, found.limits)), size, _range_notices(found), found)


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
    share = alpha[..., None].astype(np.uint16)
    white = 255 * (255 - share)
    mixed = colors.astype(np.uint16) * (255 if premultiplied else share) + white
    return ((mixed.clip(0, 255 * 255) + 127) // 255).astype(np.uint8)


def _of_pages(image: ImageFile, tags: TiffTags | None) -> list[Notice]:
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
    found = _limits_of_values(values, words, name, declared, stated, bits, noted)
    grey = to_bytes(values, found.limits)
    if tags is not None and tags.photometric == MIN_IS_WHITE:
        grey = 255 - grey
    return Decoded(_grey(grey), size, (*notices, *_range_notices(found)), found)


def of_bits(bits: int) -> ValueRange | None:
    """The range of samples that a file stores in that many bits.

    Of 16, and of the 15 that satellites' files declare for whatever they hold, none.
    """
    return ValueRange(0, 2**bits - 1) if bits < 15 and bits != 8 else None


def _grey_values(image: Image.Image) -> np.ndarray:
    values = np.array(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _limits_of_values(
    values: np.ndarray,
    words: str,
    name: str,
    declared: Declared,
    stated: ValueRange | None,
    bits: int | None = None,
    noted: ValueRange | None = None,
) -> PictureValues:
    """Black and white of grey or colour values.

    Args:
        values: All of them.
        words: The type in words, for messages.
        name: What the error calls the picture.
        declared: By the data set or model.
        stated: By the file.
        bits: Significant bits by the file.
        noted: Least and largest value by the file, which count before its bits.
    """
    words = {"I": "int32", "F": "floating-point", "I;16": "uint16", "I;16B": "uint16"}.get(
        words, words
    )
    counts = declared is Unstated.OWN_VALUES
    if isinstance(declared, ValueRange):
        return PictureValues(words, declared, "declared")
    if not counts and noted is not None:
        return PictureValues(words, noted, "noted")
    if not counts and stated is not None:
        return PictureValues(words, stated, "bits")
    if not counts:
        _require_own_range(values, words, name)
    histogram = Histogram()
    histogram.add(values)
    if noted is not None:
        return PictureValues(words, noted, "noted", histogram)
    if bits is not None:
        stated = of_significant_bits(bits, histogram)
    if stated is not None:
        return PictureValues(words, stated, "bits", histogram)
    return PictureValues(words, histogram.limits(), "own", histogram)


def _require_own_range(values: np.ndarray, words: str, name: str) -> None:
    """Raise DataError for values of which nobody states a range, and that give none by themselves."""
    if values.dtype.kind == "f":
        raise DataError(range_needed(name, words))
    low, high = int(values.min()), int(values.max())
    if values.dtype.itemsize > 2 and (
        low < -FULL - 1 or high > FULL or (low < 0 and high > FULL // 2)
    ):
        raise DataError(
            f"{name} has grey values from {low} to {high}, but 0-65535 are allowed. "
            "Convert it to 8 or 16 bits first."
        )


def _range_notices(values: PictureValues) -> tuple[Notice, ...]:
    return (range_notice(values),) if values.origin == "own" else ()


def _grey(grey: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _scaled_by_pillow(file: BinaryIO, name: str) -> bool:
    """Whether a PGM gives another largest value than that of its type, to which Pillow has scaled the others."""
    file.seek(0)
    with pillow_header(file, name, "PPM") as image:
        args = image.tile[0].args
    return isinstance(args, tuple) and args[-1] != FULL


def _deep_reader(
    file: BinaryIO, name: str, file_format: str
) -> Callable[[int, Declared], Decoded] | None:
    """What decodes colours of 16 bits, of which Pillow itself keeps the upper 8; None for all other pictures."""
    if file_format not in ("PNG", "PPM", "JPEG2000"):
        return None
    place = file.tell()
    head = file.read(64)
    file.seek(place)
    if file_format == "PNG" and head[24:25] == b"\x10" and head[25:26] in (b"\2", b"\4", b"\6"):
        return lambda max_pixels, declared: _deep_png(file, name, max_pixels, declared)
    if file_format == "PPM" and head[:2] in (b"P6", b"P3"):
        return _deep_ppm(file, name)
    if file_format == "JPEG2000":
        _require_shallow(file, name)
    return None


def _deep_png(file: BinaryIO, name: str, max_pixels: int, declared: Declared) -> Decoded:
    """Colour, or grey with alpha, of 16 bits: read twice, once for either byte of the samples."""
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
        values = upper.astype(np.uint16) << 8 | _lower_bytes(file, name, stored)
    values = upright(values, orientation)
    colors, alpha = (values, None) if stored == "RGB" else (values[..., :-1], values[..., -1])
    if isinstance(transparent, tuple) and alpha is None:
        alpha = np.where((colors == np.array(transparent, np.uint16)).all(-1), 0, FULL)
    found = _limits_of_values(colors, "uint16", name, declared, None, significant_bits(file))
    rgb = to_bytes(colors, found.limits)
    rgb = rgb if rgb.shape[2] == 3 else np.repeat(rgb, 3, axis=2)
    if alpha is not None:
        rgb = over_white(rgb, to_bytes(alpha, ValueRange(0, FULL)), premultiplied=False)
    size = (rgb.shape[0], rgb.shape[1])
    return Decoded(rgb, size, _range_notices(found), found, has_alpha=alpha is not None)


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


def _deep_ppm(file: BinaryIO, name: str) -> Callable[[int, Declared], Decoded] | None:
    """What reads a binary PPM of two bytes a sample; None for others, of which Pillow keeps all that counts."""
    with pillow_header(file, name, "PPM") as image:
        tile, size = image.tile[0], (image.height, image.width)
        args = tile.args if isinstance(tile.args, tuple) else ()
    file.seek(0)
    largest = args[-1] if args and isinstance(args[-1], int) else 0
    if tile.codec_name != "ppm" or image.mode != "RGB" or largest <= 255:
        return None

    def read(max_pixels: int, declared: Declared) -> Decoded:
        require_pixels(name, size, max_pixels)
        file.seek(tile.offset)
        num_bytes = size[0] * size[1] * 6
        content = file.read(num_bytes)
        if len(content) < num_bytes:
            raise DataError(f"{name} is damaged or incomplete: its pixels end early.")
        values = np.frombuffer(content, ">u2").astype(np.uint16).reshape(*size, 3)
        stated = ValueRange(0, largest) if largest < FULL else None
        found = _limits_of_values(values, "uint16", name, declared, stated)
        return Decoded(to_bytes(values, found.limits), size, _range_notices(found), found)

    return read


def _require_shallow(file: BinaryIO, name: str) -> None:
    """Raise DataError for JPEG 2000 of more than 8 bits, of which Pillow keeps the upper 8."""
    depth = jpeg2000_depth(file)
    if depth > 8:
        raise DataError(
            f"{name} has {depth}-bit JPEG 2000 pixels, which are read with rasterio only: pip install 'vitseg[geo]'. "
            "Or save it as 8-bit RGB."
        )
