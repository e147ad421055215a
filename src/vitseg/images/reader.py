"""Opening an image: one set of rules, whichever library decodes it.

TIFF and JPEG 2000 are read through rasterio where it is installed (the extra `geo`), whole or in windows; every other
format, and every image without that extra, is decoded by Pillow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vitseg.errors import DataError
from vitseg.images import decode_process
from vitseg.images.bands import Bands
from vitseg.images.budget import is_costly, prints_errors
from vitseg.images.decoded import MAX_PIXELS, Decoded, require_pixels
from vitseg.images.georeference import georeference_of, has_rasterio
from vitseg.images.header import header_of
from vitseg.images.pillow_reader import decode_with_pillow
from vitseg.images.pixel_source import DecodedImage, PixelSource, valid_of
from vitseg.images.raster_reader import (
    CACHE_BYTES,
    LARGEST_BLOCK,
    LARGEST_WHOLE_BLOCK,
    RasterImage,
    tiling_command,
)
from vitseg.images.sources import (
    NotForPillowError,
    Source,
    damaged,
    name_of,
    open_file,
    quiet,
    start_of,
)
from vitseg.images.tiff_tags import (
    CMYK,
    JPEG_KINDS,
    LAB_KINDS,
    YCBCR,
    TiffTags,
    read_tags,
)
from vitseg.images.value_range import Declared

DRIVERS = {"TIFF": "GTiff", "JPEG2000": "JP2OpenJPEG"}
"""What GDAL may open. Its other formats can refer to further files or to servers."""

_DECODED_BYTES = {"RGB": 12, "L": 12, "P": 12, "CMYK": 16}
"""Bytes per pixel of decoding a whole image by Pillow's mode, its copies included; of other modes 24."""


def decode(
    source: Source,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    declared: Declared | Bands = None,
    placed: bool = False,
) -> Decoded:
    """A whole image, with what was decided about its pixels.

    Args:
        source: A file, or the bytes of one.
        at_least: (height, width) that the result may not fall below, where a JPEG may be decoded at a part of its
            size; None: the whole image.
        max_pixels: Largest height * width, checked on the header.
        declared: Black and white of more than 8 bits, if they are stated; or the bands that are chosen, which are then
            the channels.
        placed: Whether it is read, too, where the image lies and which of its pixels hold data.

    Raises:
        DataError: See `decode_image`, or for bands `decode_bands`.
    """
    if isinstance(declared, Bands):
        from vitseg.images.band_reader import decode_bands

        return decode_bands(source, declared, max_pixels, placed)
    name = name_of(source)
    with open_file(source) as file:
        file_format = start_of(file, name)
        if file_format == "NPY":
            from vitseg.images.array_rgb import decode_array

            return decode_array(source, file, max_pixels, declared)
        tags = read_tags(file) if file_format == "TIFF" else None
        if is_costly(file, file_format, tags):
            return decode_process.decode(source, at_least, max_pixels, declared, placed)
        with open_raster(source, file, file_format, tags) as dataset:
            if dataset is not None:
                require_pixels(name, (dataset.height, dataset.width), max_pixels)
                image = RasterImage(dataset, name, tags, declared, LARGEST_WHOLE_BLOCK)
                found = Decoded(
                    image.whole(), image.size, image.notices, image.values, image.has_alpha
                )
                if not placed:
                    return found
                return found._replace(georeference=image.georeference, valid=valid_of(image))
        if file_format == "TIFF" and prints_errors(tags):
            return decode_process.decode(source, at_least, max_pixels, declared, placed)
        try:
            found = decode_with_pillow(file, name, file_format, max_pixels, at_least, declared)
            if not placed or isinstance(source, bytes):
                return found
            from vitseg.images.place_beside import place_beside

            place, notices = place_beside(Path(source), file_format)
            return found._replace(georeference=place, notices=(*found.notices, *notices))
        except NotForPillowError as error:
            if tags is None or not has_rasterio():
                raise
            raise NotForPillowError(name, tags, installed=True) from error


@contextmanager
def open_windows(
    path: str | Path, max_bytes: int, declared: Declared | Bands = None
) -> Iterator[PixelSource]:
    """An image of any size, open for reading windows.

    Args:
        path: The file.
        max_bytes: Memory that decoding it whole may take, where that is the only way.
        declared: Black and white of more than 8 bits, if they are stated; or the bands that are chosen.

    Raises:
        DataError: No image that can be read; tiles or strips too large to be held; or an image that has to be decoded
            whole and does not fit. Otherwise as for `decode_image`.
    """
    path = Path(path)
    if isinstance(declared, Bands):
        from vitseg.images.band_reader import open_bands

        with open_bands(path, declared, max_bytes) as image:
            yield image
        return
    with ExitStack() as stack:
        with open_file(path) as file:
            image = _in_windows(path, file, stack, max_bytes, declared)
        if image is not None:
            yield image
            return
    yield _decoded(path, max_bytes, declared)


def _in_windows(
    path: Path, file: BinaryIO, stack: ExitStack, max_bytes: int, declared: Declared
) -> PixelSource | None:
    """An image of which windows can be read, open until the stack ends; None for others."""
    file_format = start_of(file, str(path))
    tags = read_tags(file) if file_format == "TIFF" else None
    if not opens_as_raster(file_format, tags):
        return None
    if is_costly(file, file_format, tags, in_windows=True):
        distant = decode_process.DistantImage(path, max_bytes, declared)
        return stack.enter_context(closing(distant))
    dataset = stack.enter_context(open_raster(path, file, file_format, tags))
    if dataset is None:
        return None
    return RasterImage(dataset, str(path), tags, declared, LARGEST_BLOCK)


def opens_as_raster(file_format: str, tags: TiffTags | None) -> bool:
    """Whether rasterio reads such a file here. It does not turn the colours of printing and television into RGB."""
    if file_format not in DRIVERS or not has_rasterio():
        return False
    if tags is None:
        return file_format != "TIFF"
    television = tags.photometric == YCBCR and tags.compression not in JPEG_KINDS
    return not television and tags.photometric not in (CMYK, *LAB_KINDS)


@contextmanager
def open_raster(
    source: Source, file: BinaryIO, file_format: str, tags: TiffTags | None
) -> Iterator[Any | None]:
    """An open rasterio data set; None where Pillow is to read the file."""
    if not opens_as_raster(file_format, tags):
        yield None
        return
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, CPL_LOG_ERRORS="OFF"))
        stack.enter_context(quiet())
        driver = DRIVERS[file_format]
        try:
            if isinstance(source, bytes):
                memory = stack.enter_context(MemoryFile(source))
                dataset = stack.enter_context(memory.open(driver=driver))
            else:
                dataset = stack.enter_context(rasterio.open(Path(source).resolve(), driver=driver))
            _ = dataset.colorinterp
        except UnicodeEncodeError:
            raise DataError(
                f"{name_of(source)} has a name that is not in UTF-8, which rasterio needs: rename it, or its folder."
            ) from None
        except (RasterioError, OSError, ValueError) as error:
            if tags is None or not _is_healthy_for_pillow(file, file_format):
                raise damaged(name_of(source), error) from error
            yield None
            return
        yield dataset


def applied_orientation(source: Source, file: BinaryIO, tags: TiffTags) -> int:
    """The orientation by which reading a TIFF turns it: none where it lies on a map, see `RasterImage`."""
    if tags.orientation == 1:
        return 1
    with open_raster(source, file, "TIFF", tags) as dataset:
        on_map = dataset is not None and georeference_of(dataset) is not None
        return 1 if on_map else tags.orientation


def _is_healthy_for_pillow(file: BinaryIO, file_format: str) -> bool:
    """Whether Pillow makes out the header of a file that rasterio has refused."""
    from vitseg.images.sources import pillow_header

    try:
        with pillow_header(file, "", file_format):
            pass
    except DataError:
        return False
    file.seek(0)
    return True


def _decoded(path: Path, max_bytes: int, declared: Declared) -> DecodedImage:
    header = header_of(path)
    height, width = header.size
    needed = height * width * _DECODED_BYTES.get(header.mode, 24)
    if needed > max_bytes:
        way = (
            "pip install 'vitseg[geo]' to read it in windows"
            if header.format == "TIFF" and not has_rasterio()
            else f"convert it to a tiled TIFF: {tiling_command(str(path))}"
        )
        raise DataError(
            f"{path} ({header.format}, {width}x{height}) can only be decoded whole here, which takes {needed:,} bytes, "
            f"but {max_bytes:,} are allowed. Raise the memory, or {way}"
        )
    decoded = decode(path, max_pixels=height * width, declared=declared, placed=True)
    return DecodedImage(decoded.pixels, str(path), decoded.notices, decoded.georeference)
