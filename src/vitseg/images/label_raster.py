"""Large label maps as files: tiled GeoTIFF with colours. Needs rasterio (the extra `geo`)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vitseg.classes import ClassTable
from vitseg.errors import ConfigError
from vitseg.files import is_utf8, whole_file
from vitseg.images.georeference import Georeference, has_rasterio
from vitseg.images.label_store import LabelSource
from vitseg.images.raster_reader import CACHE_BYTES, rasterio_window

TILE = 256
WRITE_WINDOW = (TILE, 64 * TILE)
"""(height, width) in pixels that is written at a time."""


def write_label_tiff(
    path: Path,
    labels: LabelSource,
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
        georeference: What the source says of its place: coordinate system and transform, control points, RPCs.

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
        profile |= georeference.profile()
    with (
        whole_file(path) as partial,
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, CPL_LOG_ERRORS="OFF"),
        warnings.catch_warnings(),
        _told_of_full_disk(path.parent),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(partial, "w", **profile) as raster:
            raster.update_tags(classes=json.dumps(classes.names))
            if labels.dtype == np.uint8:
                raster.write_colormap(1, dict(enumerate(classes.palette)))
            for window in labels.windows(*WRITE_WINDOW):
                raster.write(labels.read(window), 1, window=rasterio_window(window))
        _require_whole(partial, labels)


def require_nameable(path: Path) -> None:
    """Raise ConfigError where rasterio would have to write a file whose name is not in UTF-8."""
    if path.suffix.lower() in (".tif", ".tiff") and not is_utf8(path) and has_rasterio():
        raise ConfigError(
            f"{path} has a name that is not in UTF-8, which rasterio needs: rename the image, or its folder."
        )


@contextmanager
def _told_of_full_disk(folder: Path) -> Iterator[None]:
    """GDAL says of a full disk only that something failed; within this, it is the error of the system.

    A disk is full where not even a tile fits on it any more.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and shutil.disk_usage(folder).free < TILE * TILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _require_whole(path: Path, labels: LabelSource) -> None:
    """GDAL writes its last tiles on closing, where an error goes unseen: the file is read back."""
    import rasterio

    with rasterio.open(path) as raster:
        for window in labels.windows(*WRITE_WINDOW):
            if not np.array_equal(
                raster.read(1, window=rasterio_window(window)), labels.read(window)
            ):
                raise OSError(f"{path} reads back with other labels than were written")
