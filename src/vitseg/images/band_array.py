"""Chosen bands of pictures that are an array: those that Pillow decodes, and arrays of NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from vitseg.images.bands import COLORS, Band, FileBands
from vitseg.images.decoded import require_pixels
from vitseg.images.deep_pixels import deep_colors
from vitseg.images.depth import is_deep_png
from vitseg.images.georeference import Georeference
from vitseg.images.npy_file import bands_last, npy_header, npy_size, npy_values
from vitseg.images.pillow_reader import pages_of, pillow_image
from vitseg.images.pixel_source import Notice, range_notice
from vitseg.images.sources import NotForPillowError, Source, name_of, pillow_header
from vitseg.images.stated_range import is_deep, limits_of_values
from vitseg.images.tiff_tags import MIN_IS_WHITE, TiffTags
from vitseg.images.value_range import PictureValues, ValueRange, to_bytes
from vitseg.images.window import Window

_GREY = ("1", "L", "LA", "La")  # Pillow's modes


class Planes(NamedTuple):
    """A picture as its own values.

    Attributes:
        values: (H, W, bands), of the type that they have; may be mapped from a file.
        notices: What was decided about them.
        inverted: Whether its least value is white.
    """

    values: np.ndarray
    notices: tuple[Notice, ...] = ()
    inverted: bool = False


class ArrayBands:
    """Chosen bands of an array, a `PixelSource`.

    Args:
        planes: The whole picture.
        places: Which of its bands are read, from 0.
        bands: What is known of each of them.
        name: What errors call it.
        georeference: Where it lies, if that is known.
        valid: Which pixels hold data; None: all.
    """

    def __init__(
        self,
        planes: Planes,
        places: list[int],
        bands: tuple[Band, ...],
        name: str,
        georeference: Georeference | None = None,
        valid: Bool[np.ndarray, "H W"] | None = None,
    ):
        self._planes, self._places = planes, places
        values = planes.values
        self.name = name
        self.size = (values.shape[0], values.shape[1])
        self.held_bytes = 0 if isinstance(values, np.memmap) else values.nbytes
        self._valid = valid
        self.has_gaps = valid is not None
        self.georeference = georeference
        notices = list(planes.notices)
        self._limits = [
            band_limits(band, values.dtype, lambda p=place: self._own(p), notices)
            for place, band in zip(places, bands, strict=True)
        ]
        self.notices = tuple(notices)

    def read(self, window: Window) -> UInt8[np.ndarray, "h w c"]:
        planes = self.read_planes(window)
        pixels = np.empty((*planes[0].shape, len(planes)), np.uint8)
        for channel, limits in enumerate(self._limits):
            pixels[..., channel] = to_bytes(planes[channel], limits)
        return 255 - pixels if self._planes.inverted else pixels

    def read_planes(self, window: Window) -> list[np.ndarray]:
        """The values of each band, (h, w)."""
        top, left, height, width = window
        part = self._planes.values[top : top + height, left : left + width]
        native = part.dtype.newbyteorder("=")
        return [np.ascontiguousarray(part[..., place], native) for place in self._places]

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        if self._valid is None:
            return None
        top, left, height, width = window
        return self._valid[top : top + height, left : left + width]

    def _own(self, place: int) -> PictureValues:
        values = np.asarray(self._planes.values[..., place])
        words = str(values.dtype.newbyteorder("="))
        return limits_of_values(
            values.astype(values.dtype.newbyteorder("="), copy=False), words, self.name, None, None
        )


def band_limits(
    band: Band, dtype: np.dtype, own: Callable[[], PictureValues], notices: list[Notice]
) -> ValueRange:
    """Black and white of a band: 8 bits are 0 to 255 unless its range fits them; others by its range or own values.

    Args:
        band: What is known of it.
        dtype: Of its values.
        own: Gives its range by the file; called where nothing else says it.
        notices: Where it is noted that its own values decided.
    """
    limits = band.limits
    if dtype == np.uint8:
        fits = limits is not None and limits.low >= 0 and limits.high <= 255
        return limits if fits and limits is not None else ValueRange(0, 255)
    if limits is not None:
        return limits
    found = own()
    if found.origin == "own":
        notice = range_notice(found)
        notices.append(notice._replace(text=f"band {band.words}: {notice.text}"))
    return found.limits


def array_bands(file: BinaryIO, name: str, file_format: str, tags: TiffTags | None) -> FileBands:
    """The bands of a file that Pillow or NumPy reads, by its header.

    Raises:
        DataError: The header is damaged, or such pixels are not read.
    """
    if file_format == "NPY":
        shape, _, dtype, _ = npy_header(file, name)
        count = 1 if len(shape) == 2 else shape[2 if bands_last(shape, name) else 0]
        return FileBands((None,) * count, (None,) * count, (str(dtype.newbyteorder("=")),) * count)
    if tags is not None and tags.bands >= 3 and tags.bits > 8:
        raise NotForPillowError(name, tags)
    with pillow_header(file, name, file_format) as image:
        mode = image.mode
        is_deep_file = file_format == "PNG" and is_deep_png(file)
        words = "uint16" if is_deep(mode) or is_deep_file else "uint8"
        words = tags.pixels if tags is not None else words
        if mode in _GREY or is_deep(mode):
            return FileBands((None,), (None,), (words,))
        extra = mode == "RGBA" and tags is not None and not tags.has_alpha
        colors: tuple[str | None, ...] = (*COLORS, None) if extra else COLORS
        return FileBands((None,) * len(colors), colors, (words,) * len(colors))


def image_planes(image: Image.Image) -> tuple[Planes, FileBands]:
    """The values of a Pillow image in memory, upright, and its bands; alpha is left out."""
    if is_deep(image.mode):
        values = np.array(image)
        values = values.astype(values.dtype.newbyteorder("="))[:, :, None]
        return Planes(values), FileBands((None,), (None,), (str(values.dtype),))
    if image.mode in _GREY:
        values = np.array(image.convert("L"))[:, :, None]
        return Planes(values), FileBands((None,), (None,), ("uint8",))
    return Planes(np.array(image.convert("RGB"))), FileBands((None,) * 3, COLORS, ("uint8",) * 3)


def array_planes(
    source: Source, file: BinaryIO, file_format: str, tags: TiffTags | None, max_pixels: int
) -> Planes:
    """The values of a file that Pillow or NumPy reads, upright.

    Raises:
        DataError: It is damaged, too large, or such pixels are not read.
    """
    name = name_of(source)
    if file_format == "NPY":
        require_pixels(name, npy_size(file, name), max_pixels)
        return Planes(npy_values(source, file))
    if tags is not None and tags.bands >= 3 and tags.bits > 8:
        raise NotForPillowError(name, tags)
    file.seek(0)
    deep = deep_colors(file, name, file_format)
    if deep is not None:
        return Planes(deep(max_pixels).colors)
    file.seek(0)
    with pillow_image(file, name, file_format, max_pixels) as (image, _):
        notices = tuple(pages_of(image, tags))
        if image.mode == "RGBA" and tags is not None and not tags.has_alpha:
            return Planes(np.array(image), notices)
        inverted = is_deep(image.mode) and tags is not None and tags.photometric == MIN_IS_WHITE
        return Planes(image_planes(image)[0].values, notices, inverted)
