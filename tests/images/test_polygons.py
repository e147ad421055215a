from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.images.test_label_raster import (
    CLASSES,
    LOCAL,
    NODATA,
    camera,
    filled,
    georeference,
    points,
    store,  # noqa: F401  a fixture
)
from vitseg.errors import DataError
from vitseg.images import polygons
from vitseg.images.georeference import Georeference
from vitseg.images.globe import geometry_of, signed_area
from vitseg.images.placement import place
from vitseg.images.polygons import write_polygons

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul")  # in rasterio itself

SIZE = (60, 80)


def written(path, labels, nodata=None, where=None) -> list[tuple[dict[str, Any], str]]:
    """Geometry and class of every polygon."""
    count = write_polygons(path, labels, CLASSES, nodata, where)
    collection = json.loads(path.read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == count
    found = []
    for feature in collection["features"]:
        name = feature["properties"]["class"]
        assert CLASSES.names[feature["properties"]["class_index"]] == name
        found.append((feature["geometry"], name))
    return found


def parts(geometry: dict[str, Any]) -> list[list[list]]:
    single = geometry["type"] == "Polygon"
    return [geometry["coordinates"]] if single else geometry["coordinates"]


def outlines(found: list, name: str) -> list[list[list]]:
    return [rings for geometry, of in found if of == name for rings in parts(geometry)]


def area(ring: list) -> float:
    return signed_area(np.array(ring))


def holds(rings: list, x: float, y: float) -> bool:
    """Whether a point lies in a polygon, in plain words: an odd number of edges east of it."""
    count = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                count += 1
    return count % 2 == 1


def test_polygons_in_pixels_where_no_place_is_known(tmp_path, store):  # noqa: F811
    found = written(tmp_path / "a.geojson", store, NODATA)
    assert len(found) == 3
    (tree,), (road,) = outlines(found, "tree"), outlines(found, "road")
    assert {tuple(point) for point in tree[0]} == {(12, 5), (15, 5), (15, 8), (12, 8)}
    assert [area(ring) for ring in road] == [27 * 10, -9]  # its outline and the hole
    sky = sum(area(rings[0]) for rings in outlines(found, "sky"))
    assert sky == 30 * 40 - 27 * 10 - 4


def test_polygons_cut_at_windows_cover_the_same_area(tmp_path, store, monkeypatch):  # noqa: F811
    monkeypatch.setattr(polygons, "POLYGON_WINDOW", 16)
    monkeypatch.setattr(polygons, "BATCH", 2)
    found = written(tmp_path / "a.geojson", store, NODATA)
    assert len(found) > 3
    assert sum(area(ring) for rings in outlines(found, "road") for ring in rings) == 27 * 10 - 9


def test_polygons_are_wgs84_where_the_place_is_known(tmp_path, store):  # noqa: F811
    """Easting 500 km is the middle of UTM zone 32, 9 degrees east; 5000 km north of the equator is 45.15 degrees."""
    where = place(georeference(), store.size, "image")
    found = written(tmp_path / "a.geojson", store, NODATA, where)
    longitudes, latitudes = np.array(outlines(found, "tree")[0][0]).T
    np.testing.assert_allclose(longitudes, 9.0017, atol=3e-4)
    np.testing.assert_allclose(latitudes, 45.1529, atol=5e-4)


def on_map(crs: str, longitude: float, latitude: float, pixel: float, up: str) -> Georeference:
    """An image of SIZE around a place, with its rows from the north or from the south."""
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:4326", crs, [longitude], [latitude])[:2]
    down = -pixel if up == "north" else pixel
    return Georeference(
        CRS.from_user_input(crs), Affine(pixel, 0, x - 40 * pixel, 0, down, y - 30 * down)
    )


def around(longitude: float) -> Georeference:
    """The same by control points, whose longitudes are within 180 degrees."""
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

    gcps = tuple(
        GroundControlPoint(
            row=row, col=column, x=(longitude + column / 100 + 180) % 360 - 180, y=45 - row / 100
        )
        for row in (0, 60)
        for column in (0, 80)
    )
    return Georeference(CRS.from_epsg(4326), None, gcps)


PLACES = {
    **{
        f"{name}, {up} up": on_map(crs, longitude, latitude, pixel, up)
        for up in ("north", "south")
        for name, crs, longitude, latitude, pixel in (
            ("UTM", "EPSG:32632", 9, 45, 10),
            ("degrees", "EPSG:4326", 9, 45, 0.1),
            ("degrees of another datum over 180", "EPSG:4267", 180, 52, 0.01),
            ("degrees over 180", "EPSG:4326", 180, 10, 0.1),
            ("degrees over -180", "EPSG:4326", -180, 10, 0.1),
            ("degrees beyond 180", "EPSG:4326", 270, 10, 0.1),
            ("the globe from 0 to 360", "EPSG:4326", 180, 0, 4.5 / 1.5),
            ("UTM over 180", "EPSG:32601", -180, 45, 1000),
            ("Mercator of the Pacific", "EPSG:3832", 180, 10, 30_000),
            ("web Mercator beyond its edge", "EPSG:3857", 179.99, 40, 5000),
            ("the north pole", "EPSG:3413", 0, 90, 10_000),
            ("the south pole", "EPSG:3031", 0, -90, 25_000),
            ("beside the pole", "EPSG:3571", 20, 88, 10_000),
        )
    },
    "control points": around(9),
    "control points over 180": around(179.6),
    "camera": Georeference(
        rpcs=camera(),
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_rings_run_as_rfc_7946_has_it_and_hold_their_pixels(tmp_path, kind):
    """Outer rings anticlockwise, holes clockwise, nothing beyond 180 degrees, each pixel in one polygon: its class'."""
    labels = np.random.default_rng(0).integers(0, 3, (10, 10)).repeat(6, 0).repeat(8, 1)
    labels[20:40, 20:60] = 1
    labels[25:32, 44:56] = 2
    labels[27:30, 47:53] = 0
    labels = labels.astype(np.uint8)
    where = place(PLACES[kind], SIZE, "image")
    assert where is not None
    found = written(tmp_path / "a.geojson", filled(tmp_path, labels), None, where)
    assert any(len(rings) > 1 for geometry, _ in found for rings in parts(geometry))
    if "over" in kind:
        assert "MultiPolygon" in {geometry["type"] for geometry, _ in found}
    for geometry, _ in found:
        for outer, *holes in parts(geometry):
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
            for ring in (outer, *holes):
                assert ring[0] == ring[-1]
                assert np.abs(ring).max(axis=0)[0] <= 180
                assert np.abs(ring).max(axis=0)[1] <= 90
    rows, columns = (axis.ravel() + 0.5 for axis in np.mgrid[1:60:7, 2:80:9])
    x, y = where.locate(columns, rows)
    for row, column, longitude, latitude in zip(
        rows, columns, (x + 180) % 360 - 180, y, strict=True
    ):
        names = [
            name
            for geometry, name in found
            for rings in parts(geometry)
            if holds(rings, longitude, latitude)
        ]
        assert names == [CLASSES.names[labels[int(row), int(column)]]]


def test_control_points_place_polygons_where_they_say(tmp_path, store):  # noqa: F811
    from rasterio.crs import CRS

    where = place(Georeference(CRS.from_epsg(4326), None, points()), store.size, "image")
    found = written(tmp_path / "a.geojson", store, NODATA, where)
    corners = {(round(x, 6), round(y, 6)) for x, y in outlines(found, "tree")[0][0]}
    assert corners == {(9.12, 44.95), (9.15, 44.95), (9.15, 44.92), (9.12, 44.92)}


def test_a_camera_is_taken_at_its_own_height_and_says_so(tmp_path, store, caplog):  # noqa: F811
    caplog.set_level("INFO", logger="vitseg")
    where = place(Georeference(rpcs=camera()), store.size, "image.tif")
    found = written(tmp_path / "a.geojson", store, NODATA, where)
    x, y = np.array(outlines(found, "tree")[0][0]).T
    # sample = 20 + 20 * (longitude - 9) / 0.1 counts from the middle of the first pixel
    np.testing.assert_allclose([x.min(), x.max()], [9 + (11.5 - 20) / 200, 9 + (14.5 - 20) / 200])
    np.testing.assert_allclose([y.max(), y.min()], [45 - (4.5 - 15) / 150, 45 - (7.5 - 15) / 150])
    assert (
        "image.tif is placed by its rational polynomials (RPCs) at the height 300 m" in caplog.text
    )


@pytest.mark.parametrize("kind", ["no system", "no transform", "points of no system"])
def test_half_a_place_gives_pixels_and_says_so(kind, caplog):
    caplog.set_level("INFO", logger="vitseg")
    whole = georeference()
    half = {
        "no system": replace(whole, crs=None),
        "no transform": replace(whole, transform=None),
        "points of no system": Georeference(None, None, points()),
    }
    assert place(half[kind], (30, 40), "image.tif") is None
    assert "image.tif has no coordinate system with a place in it" in caplog.text
    assert "in pixels" in caplog.text


ENGINEERING = (
    'ENGCRS["A building site",EDATUM["P1"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
    'LENGTHUNIT["metre",1]]'
)
MOON = (
    'GEOGCS["Moon",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],PRIMEM["Zero",0],'
    'UNIT["Degree",0.0174532925199433]]'
)
UTM = "EPSG:32632"
LINE = (*points(2), points(1)[0])


@pytest.mark.parametrize(
    ("crs", "transform", "gcps", "words"),
    [
        (LOCAL, (1, 0, 0, 0, -1, 0), (), '"Site grid" is local'),
        (ENGINEERING, (1, 0, 0, 0, -1, 0), (), '"A building site" is local'),
        ("EPSG:4978", (10, 0, 1e6, 0, -10, 1e6), (), "is local"),
        (MOON, (1, 0, 0, 0, -1, 0), (), 'no way from its coordinate system "Moon" to the earth'),
        (UTM, (10, 0, 5e7, 0, -10, 5e6), (), "outside the area in which .*UTM zone 32N"),
        (UTM, (10, 0, 5e5, 0, -10, 3e7), (), "outside the area"),
        ("+proj=moll", (45e4, 0, -18e6, 0, -3e5, 9e6), (), "outside the area"),
        ("+proj=geos +h=35785831", (14e4, 0, -5.5e6, 0, -18e4, 5.5e6), (), "outside the area"),
        ("EPSG:4326", (0.01, 0, 0, 0, -0.01, 95), (), "the latitude 95, beyond 90"),
        ("EPSG:4326", (0, 0, 0, 0, -1, 5), (), "has no area"),
        ("EPSG:4326", (float("nan"), 0, 0, 0, -1, 5), (), "has no area"),
        (LOCAL, None, points(), '"Site grid" is local'),
        ("EPSG:4326", None, points(2), "2 ground control points do not span an area"),
        ("EPSG:4326", None, LINE, "do not span an area"),
    ],
)  # fmt: skip
def test_places_that_are_none_on_earth_are_refused(crs, transform, gcps, words):
    from affine import Affine
    from rasterio.crs import CRS

    where = Georeference(
        CRS.from_user_input(crs), None if transform is None else Affine(*transform), gcps
    )
    with pytest.raises(DataError, match=words) as caught:
        place(where, SIZE, "image.tif")
    assert str(caught.value).startswith("image.tif: no polygons can be made, since ")
    assert "\n" not in str(caught.value)


def test_a_pixel_half_beyond_the_pole_is_laid_on_it(tmp_path):
    from affine import Affine
    from rasterio.crs import CRS

    grid = Georeference(CRS.from_epsg(4326), Affine(4.5, 0, -182.25, 0, -3.05, 91.5))
    labels = filled(tmp_path, np.zeros(SIZE, np.uint8))
    found = written(tmp_path / "a.geojson", labels, None, place(grid, SIZE, "image"))
    total = sum(area(ring) for geometry, _ in found for rings in parts(geometry) for ring in rings)
    assert total == pytest.approx(360 * 180, rel=1e-6)


def test_a_ring_around_the_pole_keeps_its_hole():
    def circle(latitude: float, east: bool) -> np.ndarray:
        longitudes = np.arange(0, 361, 30) - 180.0
        ring = np.column_stack([longitudes, np.full(13, latitude)])
        return ring if east else ring[::-1]

    cap = geometry_of([circle(80, east=True)])
    assert cap is not None
    assert area(cap["coordinates"][0]) == pytest.approx(360 * 10)
    belt = geometry_of([circle(80, east=True), circle(85, east=False)])
    assert belt is not None
    assert belt["type"] == "Polygon"
    assert [area(ring) for ring in belt["coordinates"]] == [pytest.approx(360 * 5)]
    south = geometry_of([circle(-80, east=False)])
    assert south is not None
    assert area(south["coordinates"][0]) == pytest.approx(360 * 10)
