from __future__ import annotations

import json
import resource
from dataclasses import replace

import numpy as np
import pytest

from vitseg.classes import ClassTable
from vitseg.images import label_raster
from vitseg.images.georeference import Georeference, georeference_of
from vitseg.images.label_raster import write_label_tiff
from vitseg.images.label_store import LabelStore, note_path
from vitseg.images.polygons import write_polygons
from vitseg.images.window import Window

rasterio = pytest.importorskip("rasterio")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul"),  # in rasterio itself
]

CLASSES = ClassTable.from_names(["sky", "road", "tree"])
NODATA = 255


@pytest.fixture
def store(tmp_path):
    """A road from row 3 down in the columns 10-19, a hole in it, and a corner without data."""
    labels = np.zeros((30, 40), np.uint8)
    labels[3:, 10:20] = 1
    labels[5:8, 12:15] = 2
    labels[:2, 38:] = NODATA
    return filled(tmp_path, labels)


def filled(tmp_path, labels: np.ndarray) -> LabelStore:
    store = LabelStore(tmp_path / "labels.tif", labels.shape, labels.dtype, "run")
    store.write(0, 0, labels)
    return store


def whole(store: LabelStore) -> np.ndarray:
    return store.read(Window(0, 0, *store.size))


def georeference() -> Georeference:
    from affine import Affine
    from rasterio.crs import CRS

    return Georeference(CRS.from_epsg(32632), Affine(10, 0, 500_000, 0, -10, 5_000_000))


def test_a_store_keeps_rectangles_and_what_is_done(tmp_path):
    target = tmp_path / "a.tif"
    store = LabelStore(target, (5, 7), np.dtype(np.uint16), "run")
    assert store.done == ()
    store.write(1, 2, np.full((2, 3), 300, np.uint16))
    store.mark(0, 3)
    store.write(4, 0, np.full((1, 7), 9, np.uint16))
    store.close()
    again = LabelStore(target, (5, 7), np.dtype(np.uint16), "run")
    assert again.done == (0, 3)
    expected = np.zeros((5, 7), np.uint16)
    expected[1:3, 2:5] = 300
    expected[4] = 9
    np.testing.assert_array_equal(whole(again), expected)
    again.close()
    again.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["other run", "cut note", "cut labels", "no note"])
def test_a_store_starts_anew_where_the_earlier_one_is_another(tmp_path, damage):
    target = tmp_path / "a.tif"
    store = LabelStore(target, (5, 7), np.dtype(np.uint8), "run")
    store.write(0, 0, np.ones((5, 7), np.uint8))
    store.mark(0, 5)
    store.close()
    note = note_path(target)
    if damage == "cut note":
        note.write_text(note.read_text()[:10])
    if damage == "cut labels":
        store.path.write_bytes(store.path.read_bytes()[:20])
    if damage == "no note":
        note.unlink()
    run = "another" if damage == "other run" else "run"
    again = LabelStore(target, (5, 7), np.dtype(np.uint8), run)
    assert again.done == ()
    assert not whole(again).any()


def test_labels_become_a_tiled_tiff_with_colours_names_and_place(tmp_path, store, monkeypatch):
    monkeypatch.setattr(label_raster, "WRITE_WINDOW", (16, 16))
    path, place = tmp_path / "labels.tif", georeference()
    write_label_tiff(path, store, CLASSES, NODATA, place)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), whole(store))
        assert raster.profile["tiled"]
        assert raster.profile["compress"] == "deflate"
        assert raster.block_shapes == [(256, 256)]
        assert (raster.nodata, raster.crs, raster.transform) == (255, place.crs, place.transform)
        assert [raster.colormap(1)[index][:3] for index in range(3)] == [*CLASSES.palette]
        assert json.loads(raster.tags()["classes"]) == [*CLASSES.names]


def test_more_than_256_classes_are_16_bits_without_colours(tmp_path):
    labels = np.arange(300, dtype=np.uint16).reshape(10, 30)
    store = filled(tmp_path, labels)
    many = ClassTable.from_names([f"class {index}" for index in range(300)])
    write_label_tiff(tmp_path / "labels.tif", store, many, None, None)
    with rasterio.open(tmp_path / "labels.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), labels)
        assert raster.nodata is None


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (800, 800)).astype(np.uint8)
    store = filled(tmp_path, labels)
    path = tmp_path / "labels.tif"
    path.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"."):
            write_label_tiff(path, store, CLASSES, None, None)
        with pytest.raises(OSError, match=r"."):
            write_polygons(tmp_path / "a.geojson", store, CLASSES, None, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def points(num: int = 4) -> tuple:
    from rasterio.control import GroundControlPoint

    corners = [(0, 0), (0, 40), (30, 0), (30, 40)][:num]
    return tuple(
        GroundControlPoint(row=row, col=column, x=9 + column / 100, y=45 - row / 100, z=7)
        for row, column in corners
    )


def camera():
    from rasterio.rpc import RPC

    return RPC(
        height_off=300, height_scale=500, lat_off=45, lat_scale=0.1, long_off=9, long_scale=0.1,
        line_off=15, line_scale=15, samp_off=20, samp_scale=20, err_bias=1.5, err_rand=0.5,
        line_num_coeff=[0, 0, -1, *[0] * 17], line_den_coeff=[1, *[0] * 19],
        samp_num_coeff=[0, 1, *[0] * 18], samp_den_coeff=[1, *[0] * 19],
    )  # fmt: skip


PLACES = {
    "map": lambda crs: georeference(),
    "points": lambda crs: Georeference(crs.from_epsg(4326), None, points()),
    "one point": lambda crs: Georeference(crs.from_epsg(4326), None, points(1)),
    "points of no system": lambda crs: Georeference(None, None, points()),
    "points of a local system": lambda crs: Georeference(crs.from_wkt(LOCAL), None, points()),
    "camera": lambda crs: Georeference(rpcs=camera()),
    "camera and map": lambda crs: replace(georeference(), rpcs=camera()),
    "camera and points": lambda crs: Georeference(crs.from_epsg(4326), None, points(), camera()),
    "local system": lambda crs: replace(georeference(), crs=crs.from_wkt(LOCAL)),
    "transform alone": lambda crs: replace(georeference(), crs=None),
    "system alone": lambda crs: Georeference(crs.from_epsg(32632)),
}
LOCAL = 'LOCAL_CS["Site grid",UNIT["metre",1]]'


@pytest.mark.parametrize("kind", PLACES)
def test_all_that_a_source_says_of_its_place_is_kept(tmp_path, store, kind):
    from rasterio.crs import CRS

    place = PLACES[kind](CRS)
    before = set(tmp_path.iterdir())
    write_label_tiff(tmp_path / "labels.tif", store, CLASSES, NODATA, place)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "labels.tif"}
    with rasterio.open(tmp_path / "labels.tif") as raster:
        found = georeference_of(raster)
    assert found is not None
    assert (found.crs is None) == (place.crs is None)
    assert place.crs is None or found.crs.to_wkt()[:20] == place.crs.to_wkt()[:20]
    assert found.transform == place.transform
    assert [(p.row, p.col, p.x, p.y, p.z) for p in found.gcps] == [
        (p.row, p.col, p.x, p.y, p.z) for p in place.gcps
    ]
    assert (found.rpcs and found.rpcs.to_dict()) == (place.rpcs and place.rpcs.to_dict())
