"""Where a picture lies whose place is said by a file beside it: a world file, or GDAL's `.aux.xml`."""

from __future__ import annotations

import os
from pathlib import Path

from vitseg.images.georeference import Georeference, georeference_of, has_rasterio
from vitseg.images.header import header_of
from vitseg.images.pixel_source import Notice
from vitseg.images.read_files import files_read
from vitseg.images.sources import quiet

_DRIVERS = {"JPEG": "JPEG", "PNG": "PNG"}
"""GDAL's names of formats whose pixels Pillow decodes; no pixel is read by these."""


def place_beside(path: Path, file_format: str) -> tuple[Georeference | None, tuple[Notice, ...]]:
    """What files beside a JPEG or PNG say of its place, and what is to be said of that.

    Needs rasterio; without it no place is known. Of a picture that its orientation tag turns the place is left out,
    since it is that of the pixels before.

    Args:
        path: The picture.
        file_format: As `sources.start_of` gives it.
    """
    if file_format not in _DRIVERS or not has_rasterio() or len(files_read(path)) == 1:
        return None, ()
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with (
            rasterio.Env(CPL_LOG_ERRORS="OFF"),
            quiet(),
            rasterio.open(os.path.realpath(path), driver=_DRIVERS[file_format]) as dataset,
        ):
            found = georeference_of(dataset)
    except (RasterioError, OSError, ValueError):  # Pillow has read it, so its pixels are whole
        return None, ()
    if found is None or header_of(path).orientation == 1:
        return found, ()
    text = "the place that a file beside it states is left out, since its orientation tag turns it"
    return None, (Notice("place-left-out", text),)
