"""Masks in TIFF files, by rasterio: the numbers as they are stored, or the colours that they show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Int32, Integer

from vitseg.errors import DataError
from vitseg.images.decoded import require_pixels
from vitseg.images.georeference import georeference_of
from vitseg.images.orientation import upright
from vitseg.images.raster_reader import palette_of
from vitseg.images.sources import damaged
from vitseg.images.tiff_tags import MIN_IS_WHITE, TiffTags

_INT32 = np.iinfo(np.int32)


def raster_ids(
    dataset: Any, name: str, tags: TiffTags, max_pixels: int
) -> Integer[np.ndarray, "H W"]:
    """The ids of an index mask: uint8, uint16 or int32, upright like its image.

    Of a palette the indices are taken. Samples of up to 8 bits, of which 0 is white, are turned round.

    Args:
        dataset: Open in rasterio.
        name: What errors call it.
        tags: Of the file.
        max_pixels: Largest height * width.

    Raises:
        DataError: Several channels, no integers, or beyond 32 bits; a damaged or too large file.
    """
    if dataset.count > 1:
        raise several_channels(name, dataset.count, f"{tags.pixels} pixels")
    if np.dtype(dataset.dtypes[0]).kind not in "iu":
        words = {"float": "floating-point"}.get(tags.kind, tags.kind)
        raise DataError(f"{name} has {words} pixels, but a mask holds integer ids.")
    with _reading(dataset, name, max_pixels):
        ids = dataset.read(1)
    if ids.dtype not in (np.uint8, np.uint16):
        low, high = int(ids.min()), int(ids.max())
        if low < _INT32.min or high > _INT32.max:
            raise DataError(
                f"{name} has ids from {low} to {high}, but at most 32 bits are allowed."
            )
        ids = ids.astype(np.int32)
    elif tags.photometric == MIN_IS_WHITE and tags.bits <= 8:
        ids = np.uint8(2**tags.bits - 1) - ids
    return upright(ids, _orientation(dataset, tags))


def raster_colors(
    dataset: Any, name: str, tags: TiffTags, max_pixels: int
) -> Int32[np.ndarray, "H W"]:
    """The colours that a mask shows, each 0xRRGGBB, upright like its image; arguments and errors as for ids."""
    palette = palette_of(dataset)
    if tags.bits > 8 or tags.kind != "uint" or (palette is None and dataset.count == 2):
        raise DataError(
            f"{name} has {dataset.count} bands of {tags.pixels} pixels, but colour masks have 8-bit RGB."
        )
    numbers = [1, 2, 3] if palette is None and dataset.count > 2 else [1]
    with _reading(dataset, name, max_pixels):
        bands = dataset.read(numbers)
    if palette is not None:
        bands = np.moveaxis(palette[bands[0]], 2, 0)  # (3, H, W)
    else:
        full = 2**tags.bits - 1
        if full != 255:
            bands = (bands.astype(np.uint16) * 255 // full).astype(np.uint8)
        if tags.photometric == MIN_IS_WHITE:
            bands = 255 - bands
    red, green, blue = (
        band.astype(np.int32) for band in (bands if len(bands) == 3 else [bands[0]] * 3)
    )
    return upright(red << 16 | green << 8 | blue, _orientation(dataset, tags))


def several_channels(name: str, number: int, mode: str) -> DataError:
    """The error about an index mask of more than one channel."""
    return DataError(
        f"{name} has {number} channels ({mode}), but index masks are "
        "allowed: one channel, the class id of every pixel. Are these colour masks? Then name the data "
        "set color:FOLDER and give every class its colour (palette in classes.json)."
    )


@contextmanager
def _reading(dataset: Any, name: str, max_pixels: int) -> Iterator[None]:
    from rasterio.errors import RasterioError

    require_pixels(name, (dataset.height, dataset.width), max_pixels)
    try:
        yield
    except (RasterioError, MemoryError) as error:
        raise damaged(name, error.__cause__ or error) from error


def _orientation(dataset: Any, tags: TiffTags) -> int:
    """As images have it: of a raster that lies on a map, the tag is not applied."""
    return tags.orientation if georeference_of(dataset) is None else 1
