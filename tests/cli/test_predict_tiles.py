from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.test_windows import planes, write_tiff
from tests.tiny import content, photo, write_model
from vitseg.images import decode
from vitseg.images.label_store import partial_path
from vitseg.inference import tile_bands
from vitseg.inference.predictor import load

rasterio = pytest.importorskip("rasterio")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul"),  # in rasterio itself
]

SLIDE = {"mode": "slide", "crop_size": (64, 64), "stride": (48, 40)}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "slide", inference=SLIDE)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        write_tiff(folder / f"{number}.tif", planes(photo(100, 140, seed=number)))
    return folder


def entries(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_tiles_write_tiffs_and_polygons(vitseg, model, folder, tmp_path):
    out = tmp_path / "out"
    command = ["predict", model, folder, "--out", out, "--tiles", "--blend", "mean", "--polygons"]
    result = vitseg(*command)
    assert result.code == 0, result
    assert "2 of 2 images" in result.out
    for number, entry in enumerate(entries(out)):
        expected = load(model)(folder / f"{number}.tif").label_map
        np.testing.assert_array_equal(labels(out / entry["mask"]), expected)
        assert entry["mask"] == f"masks/{number}.tif"
        assert (entry["height"], entry["width"]) == (100, 140)
        assert sum(entry["areas"].values()) == pytest.approx(1, abs=1e-4)
        polygons = json.loads((out / entry["polygons"]).read_text())
        names = {feature["properties"]["class"] for feature in polygons["features"]}
        assert names == set(entry["areas"])
    assert "already" in vitseg(*command).err


def test_an_image_beyond_the_pixel_limit_is_tiled_and_said_so(
    vitseg, model, folder, tmp_path, monkeypatch
):
    Image.fromarray(photo(20, 30)).save(folder / "small.png")
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    result = vitseg("predict", model, folder, "--out", tmp_path / "out")
    assert result.code == 0, result
    assert [entry["mask"] for entry in entries(tmp_path / "out")] == [
        "masks/0.tif", "masks/1.tif", "masks/small.png",
    ]  # fmt: skip
    said = [line for line in result.messages if "too large to be decoded whole" in line]
    assert len(said) == 2


def test_the_same_command_continues_an_interrupted_one(
    vitseg, model, folder, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    command = ["predict", model, folder, "--out", out, "--tiles"]
    run = tile_bands._add_windows
    seen: list[int] = []

    def add_windows(*values) -> None:
        seen.append(1)
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        run(*values)

    monkeypatch.setattr(tile_bands, "_add_windows", add_windows)
    per_image = 1 + 2 * 3
    stop_after = per_image + 6
    assert vitseg(*command).code != 0
    assert (out / "masks/0.tif").exists()
    assert not (out / "masks/1.tif").exists()
    assert partial_path(out / "masks/1.tif").exists()
    first = (out / "masks/0.tif").stat().st_mtime_ns
    stop_after = None
    seen.clear()
    result = vitseg(*command)
    assert result.code == 0, result
    assert (
        len(seen) == per_image
    )  # of the second image only; one row of windows was done, but is still open
    assert (out / "masks/0.tif").stat().st_mtime_ns == first
    assert [entry["image"] for entry in entries(out)] == [
        str(folder / "0.tif"), str(folder / "1.tif"),
    ]  # fmt: skip
    assert not [path for path in content(out) if "partial" in path]
    assert vitseg("predict", model, folder, "--out", tmp_path / "whole", "--tiles").code == 0
    for name in ("masks/0.tif", "masks/1.tif"):
        np.testing.assert_array_equal(labels(out / name), labels(tmp_path / "whole" / name))


def test_a_damaged_image_is_reported_and_left_out(vitseg, model, folder, tmp_path):
    broken = folder / "0.tif"
    broken.write_bytes(broken.read_bytes()[:-2000])
    result = vitseg("predict", model, folder, "--out", tmp_path / "out", "--tiles")
    assert result.code == 2
    first, second = entries(tmp_path / "out")
    assert "damaged" in first["error"]
    assert second["mask"] == "masks/1.tif"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tiles", "--max-memory", "some"], "memory 'some' is not a number of bytes"),
        (["--tiles", "--blend", "cosin"], "Did you mean 'cosine'?"),
        (["--polygons"], "--polygons goes with --tiles"),
    ],
)
def test_options_that_cannot_be(refused, model, folder, tmp_path, options, message):
    line = refused("predict", model, folder, "--out", tmp_path / "out", *options)
    assert line.startswith("ConfigError: ")
    assert message in line


def test_too_little_memory_names_the_least_and_leaves_no_list_in_the_way(
    vitseg, model, folder, tmp_path
):
    command = ["predict", model, folder, "--out", tmp_path / "out", "--tiles"]
    result = vitseg(*command, "--max-memory", "1MB")
    assert result.code == 2
    start = f"ConfigError: {folder / '1.tif'}: max_memory is 1,000,000 bytes"
    assert result.messages[-1].startswith(start)
    assert "Give at least " in result.messages[-1]
    assert all("Give at least " in entry["error"] for entry in entries(tmp_path / "out"))
    assert len(entries(tmp_path / "out")) == 2  # the second is tried, too
    assert vitseg(*command).code == 0


def test_one_image_that_does_not_fit_into_the_memory_is_its_line(vitseg, model, folder, tmp_path):
    """A PNG is decoded whole, and this one takes 27 MB more than the bound leaves."""
    for number in range(2):
        Image.fromarray(photo(100, 140, seed=number)).save(folder / f"{number}.png")
        (folder / f"{number}.tif").unlink()
    command = ["predict", model, folder, "--tiles", "--out"]
    result = vitseg(*command, tmp_path / "first", "--max-memory", "1MB")
    least = int(re.search(r"at least (\d+)MB", result.messages[-1])[1])
    Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).save(folder / "0a.png")
    result = vitseg(*command, tmp_path / "out", "--max-memory", f"{least + 3}MB")
    assert (result.code, result.out.strip()) == (2, f"2 of 3 images -> {tmp_path / 'out'}")
    assert ["error" in entry for entry in entries(tmp_path / "out")] == [False, True, False]
    (message,) = result.messages
    assert "0a.png" in message
    result = vitseg(*command, tmp_path / "out", "--max-memory", "1GB")
    assert result.code == 0, result
    assert "2 were finished before and kept" in result.messages[0]
