"""Labels as polygons of GeoJSON. Needs rasterio (the extra `geo`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from vitseg.classes import ClassTable
from vitseg.files import whole_file
from vitseg.images.globe import Ring, geometry_of, signed_area
from vitseg.images.label_store import LabelStore
from vitseg.images.placement import Placement
from vitseg.images.raster_reader import CACHE_BYTES
from vitseg.images.window import Window

POLYGON_WINDOW = 2048
"""Side of the squares in pixels that polygons are traced in, so that memory stays bounded; borders cut polygons."""

BATCH = 2000
"""Polygons that are placed on the globe at once."""

COUNTED_AT_ONCE = 2**22

SHARPEST_TURN = 5.0
"""Degrees of longitude between two points of an outline; near a pole more points are set between."""

SMALLEST_STEP = 1 / 64
"""Pixels between points near a pole at least."""

ASIDE = np.array([0.0011, 0.0017])
"""Pixels that a corner is moved by if it is a pole itself, which has no longitude; for all polygons alike."""


def write_polygons(
    path: Path,
    labels: LabelStore,
    classes: ClassTable,
    nodata: int | None,
    placement: Placement | None,
) -> int:
    """Write the outlines of the classes as a GeoJSON FeatureCollection; returns the number of polygons.

    Coordinates are WGS84 longitude and latitude, or (column, row) in pixels where it is not known where the image lies.
    As RFC 7946 has it, outer rings run anticlockwise and holes clockwise, in the coordinates as they are written, and
    what crosses the 180th meridian is cut there into a MultiPolygon. A polygon has the properties `class` and
    `class_index`; pixels that touch at a corner only are two polygons. Polygons are cut at the borders of squares of
    POLYGON_WINDOW pixels.

    Args:
        path: Where to write; an existing file is replaced. It appears whole or not at all.
        labels: What to outline.
        classes: Names.
        nodata: Label of pixels without data, if there may be any.
        placement: How the image lies on the globe.

    Raises:
        DataError: A point within the image is no place on earth.
        OSError: There is no room, or no right to write.
    """
    import rasterio

    count = 0
    with (
        whole_file(path) as partial,
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        partial.open("w", encoding="utf-8") as file,
    ):
        file.write('{"type": "FeatureCollection", "features": [')
        for geometry, index in _geometries(labels, nodata, placement):
            file.write(",\n" if count else "\n")
            json.dump(_feature(geometry, index, classes), file)
            count += 1
        file.write("\n]}\n")
    return count


def pixel_features(
    labels: Integer[np.ndarray, "H W"], classes: ClassTable, nodata: int | None = None
) -> Iterator[dict[str, Any]]:
    """The polygons of labels in memory as GeoJSON features, in one piece; otherwise as `write_polygons` has them.

    Coordinates are (column, row) in pixels. All polygons are made before the first is given: see `count_corners`.

    Args:
        labels: What to outline.
        classes: Names.
        nodata: Label of pixels that are left out.
    """
    for rings, index in _outlines(labels, Window(0, 0, *labels.shape), nodata):
        yield _feature(_in_pixels(_left_of_rings(rings, None)), index, classes)


def count_corners(labels: Integer[np.ndarray, "H W"]) -> int:
    """Points at which outlines of labels turn or meet, those at the four corners of the image left out.

    There is at most one polygon more than these, and a ring turns at most four times at each.
    """
    height, width = labels.shape
    count = 0
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        count += int(np.count_nonzero(side[1:] != side[:-1]))
    step = max(1, COUNTED_AT_ONCE // width)
    for top in range(0, height - 1, step):
        part = labels[top : top + step + 1]
        across, down = part[:, 1:] != part[:, :-1], part[1:] != part[:-1]
        turns = across[:-1] != across[1:]
        turns |= down[:, :-1] != down[:, 1:]
        turns |= across[:-1] & down[:, :-1]  # four outlines meet, where neither of these differ
        count += int(np.count_nonzero(turns))
    return count


def _feature(geometry: dict[str, Any], index: int, classes: ClassTable) -> dict[str, Any]:
    properties = {"class": classes.names[index], "class_index": index}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _in_pixels(rings: list[Ring]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}


def _geometries(
    labels: LabelStore, nodata: int | None, placement: Placement | None
) -> Iterator[tuple[dict[str, Any], int]]:
    for window in labels.windows(POLYGON_WINDOW, POLYGON_WINDOW):
        outlines = _outlines(labels.read(window), window, nodata)
        while batch := list(islice(outlines, BATCH)):
            polygons = [_left_of_rings(rings, placement) for rings, _ in batch]
            if placement is None:
                for rings, (_, index) in zip(polygons, batch, strict=True):
                    yield _in_pixels(rings), index
                continue
            for rings, (_, index) in zip(_placed(polygons, placement), batch, strict=True):
                if (geometry := geometry_of(rings)) is not None:
                    yield geometry, index


def _outlines(part: np.ndarray, window: Window, nodata: int | None) -> Iterator[tuple[list, int]]:
    """Rings of (column, row) of each polygon in a window, and its class."""
    from affine import Affine
    from rasterio.features import shapes

    mask = None if nodata is None else part != nodata
    shift = Affine.translation(window.left, window.top)
    for geometry, index in shapes(part, mask=mask, transform=shift):
        yield [np.asarray(ring, np.float64) for ring in geometry["coordinates"]], int(index)


def _left_of_rings(rings: list[Ring], placement: Placement | None) -> list[Ring]:
    """The rings turned so that the polygon is on their left, in the coordinates that are written."""
    sign = -1 if placement is not None and placement.mirrored else 1
    return [
        ring if (signed_area(ring) * sign > 0) == (number == 0) else ring[::-1]
        for number, ring in enumerate(rings)
    ]


def _placed(polygons: list[list[Ring]], placement: Placement) -> list[list[Ring]]:
    """Their rings in longitudes and latitudes, with points between where edges are long."""
    rings = [_stepped(ring, placement.step) for polygon in polygons for ring in polygon]
    places = _located(rings, placement)
    if placement.around_poles:
        rings, places = _rounder(rings, places, placement)
    found = iter(places)
    return [list(islice(found, len(polygon))) for polygon in polygons]


def _located(rings: list[Ring], placement: Placement) -> list[Ring]:
    columns, rows = np.concatenate(rings).T
    places = np.column_stack(placement.locate(columns, rows))
    return np.split(places, np.cumsum([len(ring) for ring in rings])[:-1])


def _stepped(ring: Ring, step: float) -> Ring:
    """The ring with points between, evenly, where its edges are longer than the step."""
    edges = np.diff(ring, axis=0)
    pieces = np.ceil(np.abs(edges).max(axis=1) / step).astype(int)
    if (pieces <= 1).all():
        return ring
    start = np.repeat(ring[:-1], pieces, axis=0)
    number = np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = number / np.repeat(pieces, pieces)
    return np.vstack([start + share[:, None] * np.repeat(edges, pieces, axis=0), ring[-1:]])


def _rounder(
    rings: list[Ring], places: list[Ring], placement: Placement
) -> tuple[list[Ring], list[Ring]]:
    """The same with further points where longitude turns fast, which is around poles."""
    while True:
        again = [
            number for number, place in enumerate(places) if _turns(rings[number], place).any()
        ]
        if not again:
            return rings, places
        finer = []
        for number in again:
            ring, place = rings[number], places[number]
            turns = _turns(ring, place)
            ring = np.where(np.abs(place[:, 1:]) > 90 - 1e-7, ring + ASIDE, ring)
            between = (ring[:-1] + ring[1:]) / 2
            finer.append(np.insert(ring, np.flatnonzero(turns) + 1, between[turns], axis=0))
        rings, places = [*rings], [*places]
        for number, ring, place in zip(again, finer, _located(finer, placement), strict=True):
            rings[number], places[number] = ring, place


def _turns(ring: Ring, place: Ring) -> np.ndarray:
    """Which edges need a point between."""
    turn = np.abs((np.diff(place[:, 0]) + 180) % 360 - 180)
    return (turn > SHARPEST_TURN) & (np.abs(np.diff(ring, axis=0)).max(axis=1) > SMALLEST_STEP)
