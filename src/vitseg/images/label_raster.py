"""Large label maps as files: tiled GeoTIFF with colours, and GeoJSON polygons. Needs rasterio (the extra `geo`)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from vitseg.classes import ClassTable
from vitseg.errors import DataError
from vitseg.files import whole_file
from vitseg.images.label_store import LabelStore
from vitseg.images.pixel_source import Georeference
from vitseg.images.raster_reader import CACHE_BYTES, rasterio_window

TILE = 256
WRITE_WINDOW = (TILE, 64 * TILE)
"""(height, width) in pixels that is written at a time."""

POLYGON_WINDOW = 2048
"""Side of the squares in pixels that polygons are traced in, so that memory stays bounded; borders cut polygons."""


def write_label_tiff(
    path: Path,
    labels: LabelStore,
    classes: ClassTable,
    nodata: int | None,
    georeference: Georeference | None,
) -> None:
    """Write labels as a TIFF of 256 x 256 tiles, deflated, with a colour table where they are 8 bits.

    Files that may exceed 4 GB are BigTIFF. The names of the classes are in the tag `classes`, as JSON. The file
    appears whole or not at all.

    Args:
        path: Where to write; an existing file is replaced.
        labels: What to write.
        classes: Names and colours.
        nodata: Label of pixels without data, if there may be any.
        georeference: Coordinate system and transform to keep.

    Raises:
        OSError: There is no room, or no right to write.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    height, width = labels.size
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": labels.dtype.name,
        "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "bigtiff": "IF_SAFER",
        "nodata": nodata,
    }  # fmt: skip
    if georeference is not None:
        profile |= {"crs": georeference.crs, "transform": georeference.transform}
    with (
        whole_file(path) as partial,
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(partial, "w", **profile) as raster:
            raster.update_tags(classes=json.dumps(classes.names))
            if labels.dtype == np.uint8:
                raster.write_colormap(1, dict(enumerate(classes.palette)))
            for window in labels.windows(*WRITE_WINDOW):
                raster.write(labels.read(window), 1, window=rasterio_window(window))
        _require_whole(partial, labels)


def _require_whole(path: Path, labels: LabelStore) -> None:
    """GDAL writes its last tiles on closing, where an error goes unseen: the file is read back."""
    import rasterio

    with rasterio.open(path) as raster:
        for window in labels.windows(*WRITE_WINDOW):
            if not np.array_equal(
                raster.read(1, window=rasterio_window(window)), labels.read(window)
            ):
                raise OSError(f"{path} reads back with other labels than were written")


def write_polygons(
    path: Path,
    labels: LabelStore,
    classes: ClassTable,
    nodata: int | None,
    georeference: Georeference | None,
) -> int:
    """Write the outlines of the classes as a GeoJSON FeatureCollection; returns the number of polygons.

    Coordinates are WGS84 longitude and latitude (RFC 7946), or (column, row) in pixels where no coordinate system is
    known. A polygon has the properties `class` and `class_index`; pixels that touch at a corner only are two
    polygons. Polygons are cut at the borders of squares of POLYGON_WINDOW pixels.

    Raises:
        DataError: The coordinate system cannot be turned into WGS84.
        OSError: There is no room, or no right to write.
    """
    import rasterio
    from rasterio.errors import RasterioError

    with (
        whole_file(path) as partial,
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        partial.open("w", encoding="utf-8") as file,
    ):
        try:
            return _write_features(file, labels, classes, nodata, georeference)
        except RasterioError as error:
            raise DataError(
                f"{path}: the image's coordinate system cannot be turned into WGS84 ({error}). "
                "Assign one that PROJ knows: gdal_edit -a_srs EPSG:..."
            ) from error


def _write_features(
    file: TextIO,
    labels: LabelStore,
    classes: ClassTable,
    nodata: int | None,
    georeference: Georeference | None,
) -> int:
    count = 0
    file.write('{"type": "FeatureCollection", "features": [')
    for geometry, index in _outlines(labels, nodata, georeference):
        properties = {"class": classes.names[index], "class_index": index}
        feature = {"type": "Feature", "properties": properties, "geometry": geometry}
        file.write(",\n" if count else "\n")
        json.dump(feature, file)
        count += 1
    file.write("\n]}\n")
    return count


def _outlines(
    labels: LabelStore, nodata: int | None, georeference: Georeference | None
) -> Iterator[tuple[dict[str, Any], int]]:
    from affine import Affine
    from rasterio.features import shapes
    from rasterio.warp import transform_geom
    from rasterio.windows import transform as window_transform

    crs = georeference.crs if georeference is not None else None
    pixel_to_map = georeference.transform if georeference is not None and crs else Affine.identity()
    for window in labels.windows(POLYGON_WINDOW, POLYGON_WINDOW):
        part = labels.read(window)
        mask = None if nodata is None else part != nodata
        place = window_transform(rasterio_window(window), pixel_to_map)
        for geometry, index in shapes(part, mask=mask, transform=place):
            if crs:
                geometry = transform_geom(crs, "EPSG:4326", geometry, precision=8)
            yield geometry, int(index)
