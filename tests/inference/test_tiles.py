from __future__ import annotations

import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images.test_windows import planes, write_tiff
from tests.tiny import content, make_model, make_predictor, make_record, photo
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.images import reader
from vitseg.images.bands import Bands
from vitseg.images.label_store import partial_path
from vitseg.images.preprocess import Preprocessing
from vitseg.inference import tile_plan, tiles
from vitseg.inference.blending import window_weights
from vitseg.inference.predictor import Predictor
from vitseg.inference.tiles import predict_large
from vitseg.inference.window_scores import window_starts

rasterio = pytest.importorskip("rasterio")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul"),  # in rasterio itself
]

SIZE = (150, 230)
SLIDE = {"mode": "slide", "crop_size": (64, 64), "stride": (48, 40)}
MANY_BLOCKS = 700_000_000
"""With `costly` columns, memory for two or three blocks."""


@pytest.fixture
def costly(monkeypatch):
    """Columns that count as much as those of a far larger image."""
    monkeypatch.setattr(tile_plan, "READ_BYTES", 60_000)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return photo(*SIZE)


@pytest.fixture
def source(tmp_path, image) -> Path:
    return write_tiff(tmp_path / "image.tif", planes(image))


@pytest.fixture
def predictor():
    return make_predictor(**SLIDE)


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


class BrokenOffError(Exception):
    """In place of Ctrl-C."""


def windows_run(predictor, stop_after: int | None = None) -> list[int]:
    """A list that grows with every window that the model runs; after so many the run breaks off."""
    seen: list[int] = []

    def count(module, inputs, output) -> None:
        seen.append(len(inputs[0]))
        if len(seen) == stop_after:
            raise BrokenOffError

    predictor.model.register_forward_hook(count)
    return seen


def test_labels_are_those_of_the_sliding_window(tmp_path, image, source, predictor):
    expected = predictor(image).label_map
    assert len(np.unique(expected)) > 1
    result = predict_large(predictor, source, tmp_path / "out.tif", blend="mean")
    assert len(result.plan.blocks) == 1
    np.testing.assert_array_equal(labels(result.path), expected)
    shares = np.bincount(expected.reshape(-1)) / expected.size
    assert sorted(result.class_areas.values(), reverse=True) == pytest.approx(
        sorted(shares, reverse=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("stride", [(48, 40), (64, 64), (30, 25)])
@pytest.mark.parametrize("blend", ["mean", "cosine"])
@pytest.mark.usefixtures("costly")
def test_blocks_give_the_same_labels(tmp_path, source, blend, stride):
    predictor = make_predictor(mode="slide", crop_size=(64, 64), stride=stride)
    whole = predict_large(predictor, source, tmp_path / "a.tif", "100GB", blend)
    blocks = predict_large(predictor, source, tmp_path / "b.tif", MANY_BLOCKS, blend)
    assert len(whole.plan.blocks) == 1
    assert len(blocks.plan.blocks) >= 2
    np.testing.assert_array_equal(labels(blocks.path), labels(whole.path))


@torch.inference_mode()
def test_cosine_weights_the_windows(tmp_path, image, source, predictor):
    result = predict_large(predictor, source, tmp_path / "out.tif", blend="cosine")
    pixels = predictor.model_input(image, SIZE)
    weights = window_weights((64, 64), "cosine")
    total = torch.zeros(3, *SIZE)
    for top in window_starts(SIZE[0], 64, 48):
        for left in window_starts(SIZE[1], 64, 40):
            scores = predictor.model(pixels[..., top : top + 64, left : left + 64]).scores()
            total[:, top : top + 64, left : left + 64] += scores[0] * weights
    np.testing.assert_array_equal(labels(result.path), total.argmax(0).numpy())
    plain = predict_large(predictor, source, tmp_path / "plain.tif", blend="mean")
    assert (labels(plain.path) != labels(result.path)).any()


def test_a_batch_of_windows_gives_the_same_labels_up_to_ties(
    tmp_path, source, predictor, monkeypatch
):
    single = predict_large(predictor, source, tmp_path / "a.tif")
    plan_tiles = tiles.plan_tiles
    monkeypatch.setattr(tiles, "plan_tiles", lambda *values: plan_tiles(*values[:-1], 4))  # pyright: ignore[reportCallIssue]
    seen = windows_run(predictor)
    batches = predict_large(predictor, source, tmp_path / "b.tif")
    assert batches.plan.batch_size == 4
    assert max(seen) == 4
    # In a batch, kernels sum in another order: labels may differ where two classes are even.
    assert (labels(batches.path) != labels(single.path)).mean() < 1e-3


def test_a_whole_image_model_runs_windows_of_its_training_size(tmp_path, source, caplog):
    predictor = make_predictor(resize=(100, 80), flip=True)
    caplog.set_level("INFO", logger="vitseg")
    result = predict_large(predictor, source, tmp_path / "out.tif")
    assert result.plan.window == (64, 64)
    assert result.plan.tops[:2] == (0, 48)
    assert labels(result.path).shape == SIZE
    (said,) = caplog.messages
    assert "resize (100, 80), flip True of the model's protocol is not applied" in said


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 1), (40, 30), (64, 64)])
def test_images_smaller_than_the_window(tmp_path, size, predictor):
    image = photo(*size)
    source = write_tiff(tmp_path / "image.tif", planes(image))
    result = predict_large(predictor, source, tmp_path / "out.tif", blend="mean")
    np.testing.assert_array_equal(labels(result.path), predictor(image).label_map)


def test_a_photo_that_fits_becomes_a_png(tmp_path, image, predictor):
    Image.fromarray(image).save(tmp_path / "photo.png")
    result = predict_large(
        predictor, tmp_path / "photo.png", tmp_path / "new/out.png", "1GB", "mean"
    )
    with Image.open(result.path) as written:
        assert written.mode == "P"
        np.testing.assert_array_equal(np.array(written), predictor(image).label_map)


def test_pixels_without_data_stay_so_and_empty_windows_are_not_run(tmp_path, image, predictor):
    alpha = np.full((1, *SIZE), 255, np.uint8)
    alpha[:, :, 120:] = 0
    source = write_tiff(tmp_path / "a.tif", np.concatenate([planes(image), alpha]), alpha="YES")
    seen = windows_run(predictor)
    result = predict_large(predictor, source, tmp_path / "out.tif", blend="mean")
    found = labels(result.path)
    assert (found[:, 120:] == 255).all()
    over_white = np.where(alpha[0][..., None] > 0, image, 255).astype(np.uint8)
    np.testing.assert_array_equal(found[:, :120], predictor(over_white).label_map[:, :120])
    assert sum(result.class_areas.values()) == pytest.approx(1)
    num_lefts = sum(1 for left in window_starts(SIZE[1], 64, 40) if left < 120)
    num_windows = len(window_starts(SIZE[0], 64, 48)) * num_lefts
    # one window was run to measure its memory, and `predictor(image)` ran all of them
    assert len(seen) == 1 + num_windows + 3 * len(window_starts(SIZE[1], 64, 40))
    with rasterio.open(result.path) as raster:
        assert raster.nodata == 255
    flat = predict_large(predictor, source, tmp_path / "out.png", blend="mean")
    np.testing.assert_array_equal(np.array(Image.open(flat.path)), found)


def test_an_image_without_any_data(tmp_path, predictor):
    source = write_tiff(tmp_path / "a.tif", np.zeros((3, *SIZE), np.uint8), nodata=0)
    result = predict_large(predictor, source, tmp_path / "out.tif", polygons=tmp_path / "a.geojson")
    assert (labels(result.path) == 255).all()
    assert result.class_areas == {}
    assert result.num_polygons == 0


@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize("stop_after", [2, 8, 14, 17, 22])
def test_an_interrupted_run_continues(tmp_path, source, stop_after):
    expected = predict_large(make_predictor(**SLIDE), source, tmp_path / "whole.tif", MANY_BLOCKS)
    target = tmp_path / "out.tif"
    first = make_predictor(**SLIDE)
    windows_run(first, stop_after)
    with pytest.raises(BrokenOffError):
        predict_large(first, source, target, MANY_BLOCKS)
    assert not target.exists()
    assert partial_path(target).exists()
    second = make_predictor(**SLIDE)
    seen = windows_run(second)
    shares: list[float] = []
    predict_large(second, source, target, MANY_BLOCKS, on_progress=shares.append)
    np.testing.assert_array_equal(labels(target), labels(expected.path))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    total = 1 + len(expected.plan.tops) * sum(len(block.lefts) for block in expected.plan.blocks)
    assert len(seen) < total if stop_after > 10 else len(seen) <= total
    assert {path.name for path in tmp_path.iterdir()} == {"image.tif", "whole.tif", "out.tif"}


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize("change", ["blend", "weights", "source", "memory"])
def test_another_run_starts_anew(tmp_path, image, source, change):
    target = tmp_path / "out.tif"
    first = make_predictor(**SLIDE)
    windows_run(first, stop_after=20)
    with pytest.raises(BrokenOffError):
        predict_large(first, source, target, MANY_BLOCKS, "mean")
    predictor = make_predictor(make_model(seed=int(change == "weights")), **SLIDE)
    blend, memory = "cosine" if change == "blend" else "mean", MANY_BLOCKS
    if change == "source":
        write_tiff(source, planes(image[::-1]))
    if change == "memory":
        memory = "100GB"
    seen = windows_run(predictor)
    result = predict_large(predictor, source, target, memory, blend)
    windows_of_plan = len(result.plan.tops) * sum(len(block.lefts) for block in result.plan.blocks)
    assert len(seen) == 1 + windows_of_plan
    fresh = predict_large(predictor, source, tmp_path / "fresh.tif", memory, blend)
    np.testing.assert_array_equal(labels(target), labels(fresh.path))


@pytest.mark.parametrize("changed", ["extra image", "world file", "nothing"])
def test_a_run_goes_on_only_where_all_that_is_read_is_the_same(tmp_path, image, changed):
    chosen = Bands.model_validate([1, 2, 4]).chosen
    bands = Bands(chosen=chosen, extra_images=("nir",))
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, bands=bands)
    predictor = Predictor(
        make_model(), make_record(preprocessing=preprocessing, inference=SLIDE), "cpu"
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "nir").mkdir()
    source = write_tiff(tmp_path / "images/a.tif", planes(image))
    Image.fromarray(image[..., 0]).save(tmp_path / "nir/a.png")
    (tmp_path / "images/a.tfw").write_text("0.5\n0\n0\n-0.5\n700000\n6000000\n")

    def stop(share: float) -> None:
        if share > 0.4:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        predict_large(predictor, source, tmp_path / "out.tif", on_progress=stop)
    if changed == "extra image":
        Image.fromarray(255 - image[..., 0]).save(tmp_path / "nir/a.png")
    elif changed == "world file":
        (tmp_path / "images/a.tfw").write_text("0.25\n0\n0\n-0.25\n800000\n6000000\n")
    seen = windows_run(predictor)
    predict_large(predictor, source, tmp_path / "out.tif")
    fresh = len(seen)
    seen.clear()
    whole = predict_large(predictor, source, tmp_path / "whole.tif").path
    assert (fresh < len(seen)) == (changed == "nothing")
    np.testing.assert_array_equal(labels(tmp_path / "out.tif"), labels(whole))


def test_an_extra_image_is_not_written_over(tmp_path, image):
    bands = Bands(chosen=Bands.model_validate([1, 2, 4]).chosen, extra_images=("nir",))
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, bands=bands)
    predictor = Predictor(make_model(), make_record(preprocessing=preprocessing), "cpu")
    (tmp_path / "images").mkdir()
    (tmp_path / "nir").mkdir()
    source = write_tiff(tmp_path / "images/a.tif", planes(image))
    Image.fromarray(image[..., 0]).save(tmp_path / "nir/a.png")
    before = content(tmp_path)
    with pytest.raises(ConfigError, match="or a part of it"):
        predict_large(predictor, source, tmp_path / "nir/a.png")
    assert content(tmp_path) == before


def test_a_full_disk_is_one_clear_error_and_the_run_continues(tmp_path, source, predictor):
    target = tmp_path / "out.tif"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"could not be written: File too large\. Make room"):
            predict_large(predictor, source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    predict_large(predictor, source, target)
    assert labels(target).shape == SIZE


def test_a_damaged_tile_leaves_nothing_under_the_name(tmp_path, source, predictor):
    with rasterio.open(source) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    damaged = bytearray(source.read_bytes())
    damaged[offset : offset + 300] = b"\xa5" * 300
    source.write_bytes(damaged)
    with pytest.raises(DataError, match="rows 128-149, columns 64-127 are damaged"):
        predict_large(predictor, source, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_nan_scores_leave_nothing_under_the_name(tmp_path, source):
    model = make_model()
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(VitsegError, match="NaN or infinite"):
        predict_large(make_predictor(model, **SLIDE), source, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path, image, source, predictor, monkeypatch
):
    Image.fromarray(image).save(tmp_path / "photo.png")
    before = content(tmp_path)
    for name, target, memory, message in (
        ("image.tif", "out.tif", 1000, "Give at least"),
        ("image.tif", "out.tif", "much", "write it as"),
        ("image.tif", "out.jpg", "4GB", "saved as .tif or .png"),
        ("photo.png", "out.tif", 1000, "can only be decoded whole here"),
        ("nothing.tif", "out.tif", "4GB", "does not exist"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            predict_large(predictor, tmp_path / name, tmp_path / target, memory)
    monkeypatch.setattr(tiles, "PNG_BYTES", 10**6)
    with pytest.raises(ConfigError, match="is written at once"):
        predict_large(predictor, tmp_path / "photo.png", tmp_path / "out.png")
    monkeypatch.setattr(tiles, "has_rasterio", lambda: False)
    monkeypatch.setattr(reader, "has_rasterio", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'vitseg\[geo\]'"):
        predict_large(predictor, source, tmp_path / "out.tif")
    assert content(tmp_path) == before


def test_nothing_is_written_over_what_is_read(tmp_path, source, predictor):
    (tmp_path / "link.tif").symlink_to(source)
    before = content(tmp_path)
    link, out = tmp_path / "link.tif", tmp_path / "out.tif"
    for target, polygons in ((source, None), (link, None), (out, source)):
        with pytest.raises(ConfigError, match="is the image to read"):
            predict_large(predictor, source, target, polygons=polygons)
    with pytest.raises(ConfigError, match="for labels and for polygons"):
        predict_large(predictor, source, out, polygons=out)
    assert content(tmp_path) == before


def test_control_points_and_camera_models_stay_with_the_labels(tmp_path, image, predictor):
    from rasterio.control import GroundControlPoint

    gcps = [
        GroundControlPoint(row=row, col=column, x=9 + column / 1000, y=45 - row / 1000)
        for row in (0, 150)
        for column in (0, 230)
    ]
    source = write_tiff(tmp_path / "a.tif", planes(image), gcps=gcps, crs="EPSG:4326")
    result = predict_large(predictor, source, tmp_path / "out.tif", polygons=tmp_path / "a.geojson")
    with rasterio.open(result.path) as raster:
        kept, crs = raster.gcps
        assert [(p.row, p.col, p.x, p.y) for p in kept] == [(p.row, p.col, p.x, p.y) for p in gcps]
        assert crs.to_epsg() == 4326
    text = (tmp_path / "a.geojson").read_text()
    points = np.array(re.findall(r"\[(-?[\d.]+), (-?[\d.]+)\]", text), dtype=float)
    np.testing.assert_allclose(points.min(axis=0), [9, 44.85])
    np.testing.assert_allclose(points.max(axis=0), [9.23, 45])


@pytest.mark.parametrize("crs", ['LOCAL_CS["Site grid",UNIT["metre",1]]', "EPSG:32632"])
def test_polygons_of_no_place_are_refused_before_anything_is_computed(
    tmp_path, image, predictor, crs
):
    place = rasterio.Affine(1000, 0, 2e7, 0, -1000, 5e6)
    source = write_tiff(tmp_path / "a.tif", planes(image), crs=crs, transform=place)
    seen = windows_run(predictor)
    with pytest.raises(DataError, match="no polygons can be made"):
        predict_large(
            predictor, source, tmp_path / "new/out.tif", polygons=tmp_path / "new/a.geojson"
        )
    assert seen == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    predict_large(predictor, source, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as raster:
        assert raster.transform == place
