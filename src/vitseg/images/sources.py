"""An image file before any pixel of it is decoded: opened, recognised by its first bytes, its header read by Pillow."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vitseg.errors import DataError
from vitseg.images.tiff_tags import CMYK, LAB_KINDS, YCBCR, TiffTags, read_tags

# What Pillow says of a file before it raises is no line of ours; a program that configures logging still sees it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

Source = str | Path | bytes
"""A file, or the bytes of one."""

_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
    "PPM": PpmImageFile,
}

KNOWN = (*_READERS, "AVIF", "HEIF", "JPEG2000", "NPY")
"""Formats that are read, in Pillow's spelling; NPY is an array that NumPy has saved."""

# A byte of such a file cannot stand for more pixels: a JPEG has at least a bit per block of 64, deflate shrinks to
# 1/1032 at most, and a pixel has at least one bit.
_PIXELS_PER_BYTE = {"JPEG": 512, "PNG": 8256}

_UNCHECKED_PIXELS = 4_000_000  # below, finding out by decoding costs nothing

# What the plugins of Pillow are seen to raise for damaged files.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SystemError,  # of a decoder that reads the file by itself, which then failed
    MemoryError,
    ZeroDivisionError,
)


class StoredPicture(bytes):
    """The bytes of a picture that lies in a larger file.

    Args:
        content: The bytes.
        name: What messages call it.
        extra: Gives the extra image of a name that belongs to it, or None where there is none.

    Attributes:
        name: As above.
        extra: As above.
    """

    name: str
    extra: Callable[[str], bytes | None]

    def __new__(
        cls, content: bytes, name: str, extra: Callable[[str], bytes | None] = lambda name: None
    ) -> StoredPicture:
        picture = super().__new__(cls, content)
        picture.name, picture.extra = name, extra
        return picture


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow's and rasterio's warnings about the oddities of a file stay off the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def name_of(source: Source) -> str:
    """What messages call a source."""
    if isinstance(source, StoredPicture):
        return source.name
    return "the image data" if isinstance(source, bytes) else str(source)


@contextmanager
def open_file(source: Source) -> Iterator[BinaryIO]:
    """The open file of a source; what the file system does not give while it is open is said of it, too.

    Raises:
        DataError: It is missing, a folder, or cannot be read.
    """
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    with _opened(Path(source)) as file:
        try:
            yield file
        except OSError as error:
            if error.errno is None:  # no error of the file system
                raise
            raise _unreadable(str(source), error) from error


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, but an image file is expected.")
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no ordinary file, but an image file is expected.")
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def start_of(file: BinaryIO, name: str) -> str:
    """The format of an open file by its first bytes, in Pillow's spelling; the file stands at its start afterwards.

    Raises:
        DataError: It is empty, in an unknown format, or cannot be read.
    """
    try:
        start = file.read(64)
        file.seek(0)
    except OSError as error:
        raise _unreadable(name, error) from error
    if not start:
        raise DataError(f"{name} is empty.")
    found = _sniff(start)
    if found is None:
        other = _other_format(start)
        came = f"is {other}, which is not read" if other else "is not an image in a known format"
        raise DataError(f"{name} {came}. Known: {listed(KNOWN)}.")
    return found


@contextmanager
def pillow_header(file: BinaryIO, name: str, file_format: str) -> Iterator[ImageFile]:
    """The Pillow image of an open file, its pixels not decoded yet.

    The plugins are used directly, because `Image.open` applies Pillow's own pixel limits, which are global.

    Raises:
        DataError: The header is damaged; or the file is healthy, but of pixels that Pillow does not read.
    """
    tags = read_tags(file) if file_format == "TIFF" else None
    plugin = _plugin(file_format, name)
    try:
        with quiet():
            image = plugin(file, name)  # pyright: ignore[reportArgumentType]
    except Image.DecompressionBombError as error:
        raise too_large(name, error) from error
    except DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(name, error) from error
        if tags is not None and is_sound(tags):
            raise NotForPillowError(name, tags) from error
        raise DataError(f"{name} has a damaged {file_format} header: {_line(error)}.") from error
    with image:
        yield image


def is_sound(tags: TiffTags) -> bool:
    """Whether a TIFF's tags describe a picture at all."""
    return min(tags.size) > 0 and tags.bands > 0 and tags.bits > 0


class NotForPillowError(DataError):
    """A healthy TIFF that Pillow does not read, and rasterio at most.

    Args:
        name: What the error calls it.
        tags: Of the file.
        installed: Whether rasterio is there, and does not read it either.
    """

    def __init__(self, name: str, tags: TiffTags, installed: bool = False):
        colors = {CMYK: " CMYK", YCBCR: " YCbCr", **dict.fromkeys(LAB_KINDS, " Lab")}
        kind = colors.get(tags.photometric or 0, "") if installed else ""
        way = (
            "which are not read. Save"
            if installed
            else "which is read with rasterio only: pip install 'vitseg[geo]'. Or save"
        )
        super().__init__(f"{name} has {bands_in_words(tags)}{kind}, {way} it as 8-bit RGB.")


def bands_in_words(tags: TiffTags) -> str:
    """As `8 bands of uint16 pixels`, or `float32 pixels`."""
    return (
        f"{tags.pixels} pixels"
        if tags.bands == 1
        else f"{tags.bands} bands of {tags.pixels} pixels"
    )


def require_plausible(image: ImageFile, file: BinaryIO, name: str) -> None:
    """Raise DataError where the file is far too small for what its header declares, before memory is taken for it."""
    width, height = image.size
    most = _PIXELS_PER_BYTE.get(str(image.format))
    if most is None or width * height <= _UNCHECKED_PIXELS:
        return
    place = file.tell()
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(place)
    if width * height > most * num_bytes:
        raise DataError(
            f"{name} is damaged or incomplete: it declares {width}x{height} pixels, but its {num_bytes:,} bytes cannot "
            "hold them."
        )


def exif_orientation(image: ImageFile, name: str) -> int:
    """The orientation, 1 to 8, that the header gives; of a TIFF, whose size Pillow has turned already, too."""
    try:
        with quiet():
            # PngImageFile.getexif would decode the pixels, to look behind them.
            tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except DECODE_ERRORS as error:
        raise DataError(f"{name} has damaged EXIF data: {_line(error)}.") from error
    return next((turn for turn in range(1, 9) if tag == turn), 1)  # as Pillow compares: 6.0 is 6


def damaged(name: str, error: BaseException) -> DataError:
    """The error about pixels that cannot be decoded."""
    if isinstance(error, SystemError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None:
        return _unreadable(name, error)
    if isinstance(error, MemoryError):
        return DataError(f"{name} does not fit into memory. Scale it down, or run it with --tiles.")
    return DataError(f"{name} is damaged or incomplete: {_line(error)}.")


def too_large(name: str, error: Image.DecompressionBombError) -> DataError:
    """For the formats of which a plugin applies Pillow's own limit: WEBP, TIFF and GIF."""
    return DataError(f"{name} is too large for Pillow: {_line(error)} Scale it down.")


def listed(formats: Iterable[str]) -> str:
    """Names behind each other."""
    return ", ".join(formats)


def _unreadable(name: str, error: OSError | ValueError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else None
    return DataError(f"{name} cannot be read: {reason or _line(error)}.")


def _line(error: BaseException) -> str:
    """What the decoder says; of bytes that are missing, Python's words speak of its own buffers."""
    if isinstance(error.__cause__ or error, struct.error | IndexError):
        return "it ends too early, or says a wrong length"
    return " ".join(str(error).split()) or type(error).__name__


def _plugin(file_format: str, name: str) -> type[ImageFile]:
    """Pillow's class for a format; rare ones are imported on use.

    Raises:
        DataError: It needs a package that is not installed.
    """
    if file_format == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    if file_format == "JPEG2000":
        from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

        return Jpeg2KImageFile
    if file_format == "HEIF":
        try:
            from pillow_heif import HeifImageFile  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise DataError(
                f"{name} is a HEIC or HEIF picture, which pillow-heif reads: pip install 'vitseg[heif]', or convert it "
                "to JPEG."
            ) from None
        return HeifImageFile
    return _READERS[file_format]


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
    if start.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if start.startswith(b"\x93NUMPY"):
        return "NPY"
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    return None


def _of_brands(start: bytes) -> str | None:
    """The picture formats that share the container of MP4."""
    size = int.from_bytes(start[:4], "big")
    listing = start[8 : max(16, min(size, len(start)))]
    brands = {listing[place : place + 4] for place in (0, *range(8, len(listing) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    heif = {
        b"heic",
        b"heix",
        b"hevc",
        b"hevx",
        b"heim",
        b"heis",
        b"hevm",
        b"hevs",
        b"mif1",
        b"msf1",
    }
    return "HEIF" if brands & heif else None


def _other_format(start: bytes) -> str | None:
    """The name of a picture format that is recognised, but not read."""
    signs = {
        b"8BPS": "a Photoshop file", b"\x76\x2f\x31\x01": "an OpenEXR file", b"\xff\x0a": "a JPEG XL picture",
        b"\0\0\0\x0cJXL ": "a JPEG XL picture", b"%PDF": "a PDF document", b"#?RADIANCE": "a Radiance HDR picture",
        b"DDS ": "a DDS texture", b"P7": "a PAM picture", b"qoif": "a QOI picture", b"<svg": "an SVG drawing",
    }  # fmt: skip
    return next((name for sign, name in signs.items() if start.startswith(sign)), None)
