"""Image and mask files to arrays. Whatever is wrong with a file becomes one `DataError` that names it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vitseg.errors import DataError

MAX_PIXELS = 150_000_000
"""Default limit of height * width of a file: about 450 MB once decoded to RGB."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Suffixes by which folders are searched, lower case; a file is decoded by its content."""

_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
    "PPM": PpmImageFile,
}
# The others would change ids: JPEG and WEBP are lossy, Pillow scales the values of a PPM.
_MASK_FORMATS = ("PNG", "TIFF", "BMP", "GIF")

_TEXTS_WITH_EXIF = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # keywords in PNG files

# What the plugins of Pillow are seen to raise for damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
)


def decode_image(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB, upright: the EXIF orientation is applied.

    Of an animation, the first frame. Transparency is composited over white. Grey of 16 bits is
    divided by 257 and rounded; colour of 16 bits keeps its high byte. CMYK is converted without a
    colour profile.

    Args:
        source: A file, or the bytes of one.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: The file is missing, empty, damaged, too large, in another format than JPEG, PNG,
            WEBP, BMP, TIFF, GIF and PPM, or of floating-point pixels.
    """
    return read_image(source, max_pixels=max_pixels)[0]


def read_image(
    source: str | Path | bytes,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, tuple[int, int]]:
    """The image as `decode_image` gives it, or a smaller version, and the (height, width) of the whole.

    A JPEG can be decoded at a half, a quarter or an eighth of its size in a fraction of the time. Each pixel is then
    the mean of a block.

    Args:
        source: A file, or the bytes of one.
        at_least: (height, width) that the result may not fall below; other formats
            come at their own size. None: the whole image.
        max_pixels: Largest height * width of the whole image, checked on the header.

    Raises:
        DataError: As for `decode_image`.
    """
    with _opened(source, max_pixels, at_least) as (image, size):
        return to_rgb(image, _name(source)), size


def decode_mask(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The ids of an index mask as (H, W) uint8, uint16 or int32, upright like its image.

    Args:
        source: A PNG, TIFF, BMP or GIF file of one channel. Of a palette file the indices are taken,
            not the colours.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: As for `decode_image`; or the file has several channels, or its format changes ids.
    """
    name = _name(source)
    with _opened(source, max_pixels) as (image, _):
        _require_exact(image, name)
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
        raise DataError(
            f"{name} has {len(image.getbands())} channels (mode {image.mode}), but index masks are "
            "allowed: one channel, the class id of every pixel. Are these colour masks? Then name the data "
            "set color:FOLDER and give every class its colour (palette in classes.json)."
        )


def decode_color_mask(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The colours of a colour mask as (H, W) int32, each 0xRRGGBB, upright like its image.

    Args:
        source: A PNG, TIFF, BMP or GIF file; of one with a palette or grey levels, the colours that it shows.
        max_pixels: Largest height * width that is decoded, checked on the header.

    Raises:
        DataError: As for `decode_image`; or the file has 16-bit channels, or its format changes colours.
    """
    name = _name(source)
    with _opened(source, max_pixels) as (image, _):
        _require_exact(image, name)
        if image.mode not in ("RGB", "RGBA", "P", "PA", "L", "LA", "1"):
            raise DataError(
                f"{name} has colour mode {image.mode}, but colour masks have 8-bit RGB."
            )
        red, green, blue = (np.asarray(band, np.int32) for band in image.convert("RGB").split())
        return red << 16 | green << 8 | blue  # (H, W)


def _require_exact(image: ImageFile, name: str) -> None:
    if image.format not in _MASK_FORMATS:
        raise DataError(
            f"{name} is a {image.format} file, which does not keep ids exactly. "
            f"Save masks as {_listed(_MASK_FORMATS)}."
        )


class Header(NamedTuple):
    """What the header of an image file says: its format ("PNG"), its Pillow mode ("P") and its upright size."""

    format: str
    mode: str
    size: tuple[int, int]


def read_header(source: str | Path | bytes) -> Header:
    """Format, mode and (height, width) of an image file, no pixel decoded.

    The rare PNG that has its orientation behind the pixels is decoded, up to `MAX_PIXELS`.

    Raises:
        DataError: The file is missing, empty or in an unknown format, or its header is damaged.
    """
    name = _name(source)
    with _file(source) as file, _header(file, name) as image:
        header = Header(str(image.format), image.mode, (image.height, image.width))
        if image.format != "PNG" or not _png_has_exif_after_pixels(file):
            return (
                header._replace(size=header.size[::-1])
                if _lies_on_its_side(image, name)
                else header
            )
    with _opened(source, MAX_PIXELS) as (image, size):
        return header._replace(size=size)


def image_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) of the upright image, as `read_header` reads it."""
    return read_header(source).size


@contextmanager
def _opened(
    source: str | Path | bytes, max_pixels: int, at_least: tuple[int, int] | None = None
) -> Iterator[tuple[ImageFile, tuple[int, int]]]:
    """The decoded, upright Pillow image of a file that is within the limit, and the (height, width) of the whole."""
    name = _name(source)
    with _file(source) as file, _header(file, name) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise DataError(
                f"{name} is {width}x{height} = {width * height:,} pixels, but at most "
                f"{max_pixels:,} are decoded. Scale it down or raise max_pixels."
            )
        on_its_side = False
        try:
            if at_least is not None and isinstance(image, JpegImageFile):
                on_its_side = _lies_on_its_side(image, name)
                rows, columns = at_least
                image.draft(None, (rows, columns) if on_its_side else (columns, rows))
            drafted = image.size != (width, height)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        except Image.DecompressionBombError as error:
            raise _too_large(name, error) from error
        except _DECODE_ERRORS as error:
            raise DataError(f"{name} is damaged or incomplete: {error}.") from error
        if drafted:
            yield image, (width, height) if on_its_side else (height, width)
        else:
            yield image, (image.height, image.width)


@contextmanager
def _header(file: BinaryIO, name: str) -> Iterator[ImageFile]:
    """The Pillow image of an open file, its pixels not decoded yet.

    The plugins are used directly, because `Image.open` applies Pillow's own pixel limits, which are global.
    """
    start = file.read(16)
    file.seek(0)
    if not start:
        raise DataError(f"{name} is empty.")
    file_format = _sniff(start)
    if file_format is None:
        raise DataError(f"{name} is not an image in a known format. Known: {_listed(_READERS)}.")
    try:
        image = _READERS[file_format](file, name)
    except Image.DecompressionBombError as error:
        raise _too_large(name, error) from error
    except _DECODE_ERRORS as error:
        raise DataError(f"{name} has a damaged {file_format} header: {error}.") from error
    with image:
        yield image


def _file(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return BytesIO(source)
    path = Path(source)
    if path.is_dir():
        raise DataError(f"{path} is a folder, but an image file is expected.")
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _name(source: str | Path | bytes) -> str:
    return "the image data" if isinstance(source, bytes) else str(source)


def _too_large(name: str, error: Image.DecompressionBombError) -> DataError:
    """For the formats of which a plugin applies Pillow's own limit: WEBP, TIFF and GIF."""
    return DataError(f"{name} is too large for Pillow: {error} Scale it down.")


def _listed(formats: Iterable[str]) -> str:
    return ", ".join(formats)


def _sniff(start: bytes) -> str | None:
    """The format by the first bytes of a file."""
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start.startswith(b"BM"):
        return "BMP"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return "PPM"
    return None


def to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of an upright picture of any mode as (H, W, 3) uint8 RGB.

    Transparent pixels are laid over white; 16-bit grey is scaled to 8 bits.

    Args:
        image: The picture.
        name: What the error calls it.

    Raises:
        DataError: Floating-point pixels, or grey values beyond 16 bits.
    """
    if image.mode == "F":
        raise DataError(
            f"{name} has floating-point pixels, whose range is unknown. "
            "Convert it to 8 or 16 bits first."
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey16_to_rgb(np.array(image), name)
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


def _grey16_to_rgb(grey: np.ndarray, name: str) -> np.ndarray:
    low, high = int(grey.min()), int(grey.max())
    if low < 0 or high > 65535:
        raise DataError(
            f"{name} has grey values from {low} to {high}, but 0-65535 are allowed. "
            "Convert it to 8 or 16 bits first."
        )
    grey8 = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey8[:, :, None], 3, axis=2)  # (H, W, 3)


def _lies_on_its_side(image: ImageFile, name: str) -> bool:
    """Whether the header says that height and width change places in the upright image."""
    if image.format == "TIFF":
        return False  # Pillow has exchanged them already
    try:
        # PngImageFile.getexif would decode the pixels, to look behind them.
        tags = Image.Image.getexif(image)
        return tags.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except _DECODE_ERRORS as error:
        raise DataError(f"{name} has damaged EXIF data: {error}.") from error


def _png_has_exif_after_pixels(file: BinaryIO) -> bool:
    """Whether one of the chunks in which Pillow finds an orientation follows the pixels."""
    file.seek(8)
    pixels_seen = False
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        after = file.tell() + length + 4  # behind the content and its checksum
        pixels_seen = pixels_seen or kind == b"IDAT"
        if pixels_seen and (kind == b"eXIf" or file.read(24).startswith(_TEXTS_WITH_EXIF)):
            return True
        file.seek(after)
    return False
