"""Chosen bands of TIFF and JPEG 2000 through rasterio."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import DataError
from vitseg.images.band_array import band_limits
from vitseg.images.bands import COLORS, Band, FileBands
from vitseg.images.orientation import stored_window, upright
from vitseg.images.pixel_source import Notice
from vitseg.images.raster_reader import LARGEST_BLOCK, RasterImage, palette_of, rasterio_window
from vitseg.images.tiff_tags import TiffTags
from vitseg.images.value_range import Declared, PictureValues, ValueRange, to_bytes
from vitseg.images.window import Window


class RasterBands(RasterImage):
    """Chosen bands of a raster: windows of them, and their own values.

    Alpha and nodata say which pixels hold data, and change no value.

    Args:
        dataset: Open in rasterio.
        name: What errors call it.
        places: Which bands are read, from 0.
        bands: What is known of each of them.
        tags: Of a TIFF.
        largest_block: Bytes of a decoded tile or strip.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        places: list[int],
        bands: tuple[Band, ...],
        tags: TiffTags | None = None,
        largest_block: int = LARGEST_BLOCK,
    ):
        self._places, self._known = places, bands
        self.num_channels = len(places)
        super().__init__(dataset, name, tags, None, largest_block)

    def read_planes(self, window: Window) -> list[np.ndarray]:
        """The values of each band, (h, w), turned upright."""
        size = (self._dataset.height, self._dataset.width)
        stored = stored_window(window, size, self._orientation)
        with self._reading(stored):
            bands = self._dataset.read(self._bands, window=rasterio_window(stored))
        if self._palette is not None:
            bands = np.moveaxis(self._palette[bands[0]][..., self._places], -1, 0)
        return [upright(band, self._orientation) for band in bands]

    def _color_bands(self, notices: list[Notice]) -> list[int]:
        return [1] if self._palette is not None else [place + 1 for place in self._places]

    def _decide_limits(self, declared: Declared, notices: list[Notice]) -> ValueRange:
        """Black and white of each band by itself; what is returned is used nowhere."""
        dtype, words, bits = self._type()
        if dtype.kind not in "iuf":
            raise DataError(
                f"{self.name} has {words} pixels, which have no brightness. Convert them to real numbers first: "
                f"gdal_translate -ot Float32 {self.name} real.tif"
            )
        everything = self._bands
        self.values = None
        self._ranges: list[ValueRange] = []
        # Of a palette one band is stored, whatever is chosen of its colours.
        for number, band in zip(everything, self._known[: len(everything)], strict=True):
            self._bands = [number]

            def own() -> PictureValues:
                return self._values(None, dtype, words, bits)

            self._ranges.append(band_limits(band, dtype, own, notices))
        self._bands = everything
        return ValueRange(0, 255)

    def _rgb(self, bands: np.ndarray) -> UInt8[np.ndarray, "h w c"]:
        if self._palette is not None:
            return self._palette[bands[0]][..., self._places]
        channels = [
            to_bytes(band, limits) for band, limits in zip(bands, self._ranges, strict=True)
        ]
        if self._inverted:
            channels = [255 - channel for channel in channels]
        return np.stack(channels, axis=-1)  # (h, w, c)


def raster_bands(dataset: Any, tags: TiffTags | None) -> FileBands:
    """The bands of an open raster, by its descriptions and colour interpretation."""
    from rasterio.enums import ColorInterp

    if palette_of(dataset) is not None:
        return FileBands((None,) * 3, COLORS, ("uint8",) * 3)
    colors: list[str | None] = []
    for meaning in dataset.colorinterp:
        name = meaning.name
        known = name in COLORS or meaning == ColorInterp.alpha
        colors.append(name if known else None)
    guessed = tags is not None and not tags.extra  # as GDAL does with a fourth band
    if guessed or dataset.count == 1:
        colors = [None if color == "alpha" else color for color in colors]
    names = tuple(text.strip() or None if text else None for text in dataset.descriptions)
    return FileBands(names, tuple(colors), tuple(map(str, dataset.dtypes)))
