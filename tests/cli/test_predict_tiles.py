from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.test_windows import planes, write_tiff
from tests.tiny import content, photo, write_model
from vitseg.cli import predict_tiles
from vitseg.cli.predict_image import ImageWriter
from vitseg.images import decode
from vitseg.images.label_store import LabelStore, partial_path
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


@pytest.mark.parametrize("options", [[], ["--tiles"]])
def test_an_image_on_a_map_keeps_its_place_and_its_gaps(vitseg, model, tmp_path, options):
    """Whole as in tiles; of images that are run whole, those on a map alone become a TIFF."""
    pixels = photo(60, 60, seed=3)
    pixels[:, :20] = 0
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6)}
    (tmp_path / "in").mkdir()
    write_tiff(tmp_path / "in/map.tif", planes(photo(60, 60)), **place)
    write_tiff(tmp_path / "in/gaps.tif", planes(pixels), nodata=0)
    write_tiff(tmp_path / "in/both.tif", planes(pixels), nodata=0, **place)
    write_tiff(tmp_path / "in/none.tif", planes(photo(60, 60)))
    out = tmp_path / "out"
    assert vitseg("predict", model, tmp_path / "in", "--out", out, *options).code == 0
    masks = {Path(entry["image"]).stem: entry["mask"] for entry in entries(out)}
    plain = ".tif" if options else ".png"
    assert masks == {
        "map": "masks/map.tif", "gaps": f"masks/gaps{plain}", "both": "masks/both.tif", "none": f"masks/none{plain}",
    }  # fmt: skip
    for entry in entries(out):
        name = Path(entry["image"]).stem
        found = labels(out / entry["mask"])
        has_gaps = name in ("gaps", "both")
        assert (found[:, :20] == 255).all() == has_gaps
        assert found[:, 20:].max() < 3
        assert sum(entry["areas"].values()) == pytest.approx(1, abs=1e-5)
        counts = np.bincount(found[found < 3], minlength=3) / (found < 3).sum()
        assert sorted(entry["areas"].values()) == pytest.approx(
            sorted(counts[counts > 0]), abs=1e-5
        )
        if entry["mask"].endswith(".png"):
            continue
        with rasterio.open(out / entry["mask"]) as raster:
            assert raster.nodata == (255 if has_gaps else None)
            if name in ("map", "both"):
                assert (raster.crs, raster.transform) == (place["crs"], place["transform"])
    assert len(list((out / "overlays").glob("*.jpg"))) == (0 if options else 4)
    again = vitseg("predict", model, tmp_path / "in", "--out", out, *options)
    assert "of all these images" in again.err


@pytest.mark.parametrize("options", [[], ["--tiles"]])
@pytest.mark.parametrize(
    ("suffix", "world"), [(".jpg", ".jgw"), (".png", ".pgw"), (".png", ".wld")]
)
def test_a_world_file_is_the_place_of_a_photo(vitseg, model, tmp_path, options, suffix, world):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo(40, 60)).save(tmp_path / f"in/a{suffix}")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(photo(40, 60)).save(tmp_path / f"in/turned{suffix}", exif=turned)
    for name in ("a", "turned"):
        text = "0.1\n0\n0\n-0.1\n500000.05\n4999999.95\n"
        (tmp_path / f"in/{name}{world}").write_text(text)
    out = tmp_path / "out"
    result = vitseg("predict", model, tmp_path / "in", "--out", out, *options)
    assert result.code == 0, result
    assert "is left out, since its orientation tag turns it" in result.err
    with rasterio.open(out / "masks/a.tif") as raster:
        assert raster.transform.almost_equals(rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6))
        assert (raster.height, raster.width) == (40, 60)
    assert ((out / "masks/turned.png").exists()) == (not options)


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
    assert len(said) == 1
    assert said[0].startswith("2 images (")
    assert "0.tif" in said[0]
    assert "1.tif" in said[0]


def test_an_image_that_would_be_run_whole_for_hours_is_tiled(vitseg, folder, tmp_path, monkeypatch):
    model = write_model(tmp_path / "whole")
    Image.fromarray(photo(20, 30)).save(folder / "small.png")
    monkeypatch.setattr(predict_tiles, "MAX_WHOLE_PIXELS", 10_000)
    result = vitseg("predict", model, folder, "--out", tmp_path / "out")
    assert result.code == 0, result
    assert [entry["mask"] for entry in entries(tmp_path / "out")] == [
        "masks/0.tif", "masks/1.tif", "masks/small.png",
    ]  # fmt: skip
    assert "too large to be run whole, and therefore segmented in tiles" in result.err
    small = ("--set", "resize=[60,60]")
    result = vitseg("predict", model, folder, "--out", tmp_path / "small", *small)
    assert {entry["mask"][-4:] for entry in entries(tmp_path / "small")} == {".png"}


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


@pytest.mark.parametrize("change", ["tiles", "image", "model", "nothing"])
def test_labels_of_an_interrupted_run_go_where_nobody_goes_on(
    vitseg, model, folder, tmp_path, monkeypatch, change
):
    out = tmp_path / "out"

    def stop(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LabelStore, "mark", stop)
        assert vitseg("predict", model, folder, "--out", out, "--tiles").code != 0
    partial = partial_path(out / "masks/0.tif")
    assert partial.exists()
    (out / "masks/.mine.partial").write_text("not written by vitseg")
    other = write_model(tmp_path / "other", inference=SLIDE, license="MIT")
    model = other if change == "model" else model
    images = folder / "1.tif" if change == "image" else folder
    options = [] if change == "tiles" else ["--tiles"]
    with monkeypatch.context() as patched:
        patched.setattr(ImageWriter, "outcome", stop)
        vitseg("predict", model, images, "--out", out, "--overwrite", *options)
    assert partial.exists() == (change == "nothing")
    assert (out / "masks/.mine.partial").exists()


def test_tiles_and_whole_images_leave_no_files_of_each_other(vitseg, model, folder, tmp_path):
    command = ("predict", model, folder, "--out", tmp_path / "out", "--overwrite")
    assert vitseg(*command, "--tiles", "--polygons").code == 0
    assert vitseg(*command).code == 0
    files = [path for path in content(tmp_path / "out") if path.count("/") == 1]
    assert files == ["masks/0.png", "masks/1.png", "overlays/0.jpg", "overlays/1.jpg"]
    assert vitseg(*command, "--tiles").code == 0
    files = [path for path in content(tmp_path / "out") if path.count("/") == 1]
    assert files == ["masks/0.tif", "masks/1.tif"]


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


@pytest.mark.slow
@pytest.mark.long
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


def full_disk(monkeypatch, at: int) -> None:
    """The disk is full from the write number `at` of a rectangle of labels on."""
    from vitseg.images.label_store import LabelStore

    write, count = LabelStore.write, iter(range(1_000_000))

    def full(self, top, left, labels):
        if next(count) >= at:
            self._file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, top, left, labels)

    monkeypatch.setattr(LabelStore, "write", full)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    vitseg, model, folder, tmp_path, monkeypatch, at
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ("predict", model, folder, "--tiles", "--polygons", "--out")
    assert vitseg(*command, whole).code == 0
    with monkeypatch.context() as patched:
        full_disk(patched, at)
        result = vitseg(*command, out)
    assert result.code == 2, result
    last = f"No space left on device: {out}. Make room; the same command goes on."
    assert result.messages[-1] == last
    finished = [entry for entry in entries(out) if entry.get("mask")]
    shown = [path for path in (out / "masks").iterdir() if not path.name.startswith(".")]
    assert len(shown) == len(finished) < 2
    assert all(path.read_bytes() == (whole / "masks" / path.name).read_bytes() for path in shown)
    kept = {path: path.stat().st_mtime_ns for path in shown}

    result = vitseg(*command, out)
    assert result.code == 0, result
    assert {path: path.stat().st_mtime_ns for path in shown} == kept
    for kind in ("masks", "polygons"):
        assert content(out / kind) == content(whole / kind)


def test_a_full_disk_that_gdal_meets_is_told_as_one(vitseg, model, folder, tmp_path, monkeypatch):
    """GDAL writes its last tiles when a file is closed, and then says only that something failed."""
    from vitseg.images import label_raster

    def fails(*_):
        raise rasterio.errors.RasterioIOError("Read failed. See previous exception for details.")

    out = tmp_path / "out"
    usage = label_raster.shutil.disk_usage(tmp_path)
    for free, last in (
        (100, f"No space left on device: {out}."),
        (1 << 40, "could not be written"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(label_raster, "_require_whole", fails)
            patched.setattr(
                label_raster.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free)
            )
            result = vitseg("predict", model, folder, "--out", out, "--tiles")
        assert result.code == 2
        assert last in result.messages[-1]
        assert ".." not in result.messages[-1].replace(str(out), "")
        assert not list((out / "masks").glob("[!.]*"))
    assert vitseg("predict", model, folder, "--out", out, "--tiles").code == 0


@pytest.mark.parametrize("options", [(), ("--tiles",)])
def test_a_folder_gives_pictures_of_every_kind_and_names_the_others(
    vitseg, model, tmp_path, options
):
    folder, image = tmp_path / "images", Image.fromarray(photo(40, 50))
    kinds = {
        ".jfif": "JPEG",
        ".JPE": "JPEG",
        ".avif": "AVIF",
        ".jp2": "JPEG2000",
        ".j2k": "JPEG2000",
    }
    hidden = ("__MACOSX", ".ipynb_checkpoints", "@eaDir")
    for name in ("deep", *hidden):
        (folder / name).mkdir(parents=True)
        image.save(folder / name / "copy.png")
    for number, (suffix, kind) in enumerate(kinds.items()):
        image.save(folder / f"{number}{suffix}", kind)
    for name in ("a.CR2", "deep/b.psd", "c.svg", "d.pdf", ".e.psd", "notes.txt"):
        (folder / name).write_bytes(b"x")
    out = tmp_path / "out"
    result = vitseg("predict", model, folder, "--out", out, *options)
    assert result.code == 0, result
    done = {Path(entry["image"]).relative_to(folder).as_posix() for entry in entries(out)}
    assert done == {"deep/copy.png", *(f"{at}{suffix}" for at, suffix in enumerate(kinds))}
    assert result.messages[-1] == (
        "4 files are left out, since pictures in such formats are not read: a.CR2, c.svg, d.pdf and 1 more"
    )


def test_a_folder_of_other_pictures_alone_is_told_by_them(refused, model, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dng").write_bytes(b"x")
    line = refused("predict", model, tmp_path / "images", "--out", tmp_path / "out")
    assert "holds no image" in line
    assert "1 file is left out, since pictures in such formats are not read: a.dng." in line
