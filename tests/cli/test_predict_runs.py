"""A run of many images: none stops the others, what is finished stays, and the same command goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import content, photo, write_model
from vitseg.errors import VitsegError
from vitseg.images.bands import Bands
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor

Image.MAX_IMAGE_PIXELS = None


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(photo(40, 50, seed=number)).save(folder / f"{number}.png")
    return folder


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(monkeypatch, make: Callable[[], Exception], stem: str = "1") -> None:
    """Prediction of one image raises an error."""
    run = Predictor.__call__

    def call(self, source):
        if Path(source).stem == stem:
            raise make()
        return run(self, source)

    monkeypatch.setattr(Predictor, "__call__", call)


def raised(function: Callable, *arguments: object) -> Exception:
    """The error of a call, as the library words it."""
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("it went well")


def full_disk(monkeypatch, name: str) -> None:
    """A file is written by half, and then the disk is full."""
    write = Path.write_bytes

    def write_bytes(self, data):
        if name in self.name:
            write(self, bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda: VitsegError("the model's scores are NaN"), 2, "scores are NaN"),
        (lambda: OSError(errno.EIO, "Input/output error"), 2, "1.png: Input/output error"),
        (
            lambda: PermissionError(errno.EACCES, "Permission denied", "x"),
            2,
            "Permission denied (x)",
        ),
        (lambda: MemoryError("Unable to allocate 3 GiB"), 2, "does not fit in memory"),
        (MemoryError, 2, "1.png does not fit in memory. vitseg"),
        (lambda: raised(np.empty, 2**55), 2, "does not fit in memory (Unable to allocate"),
        (lambda: raised(torch.empty, 2**55), 2, "does not fit in memory"),
        (lambda: RuntimeError("CUDA out of memory."), 2, "does not fit in memory"),
        (lambda: RuntimeError("shapes\ndiffer"), 1, "internal error, RuntimeError: shapes differ"),
    ],
    ids=[
        "scores",
        "read",
        "permission",
        "numpy memory",
        "memory",
        "numpy",
        "torch",
        "device memory",
        "ours",
    ],
)
def test_whatever_fails_with_one_image_is_its_line(
    vitseg, model, photos, tmp_path, monkeypatch, make, code, said
):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        failing(patched, make)
        result = vitseg("predict", model, photos, "--out", out)
    assert result.code == code, result
    assert result.out.strip() == f"2 of 3 images -> {out}"
    (message,) = result.messages
    assert said in message
    assert ["error" in line for line in lines(out)] == [False, True, False]
    assert said in lines(out)[1]["error"]
    assert names(out / "masks") == ["0.png", "2.png"]
    kept = {name: (out / "masks" / name).stat().st_mtime_ns for name in names(out / "masks")}

    result = vitseg("predict", model, photos, "--out", out)
    assert (result.code, result.out.strip()) == (0, f"3 of 3 images -> {out}")
    assert "2 were finished before and kept" in result.messages[0]
    assert [Path(line["image"]).stem for line in lines(out)] == ["0", "1", "2"]
    assert not any("error" in line for line in lines(out))
    assert all((out / "masks" / n).stat().st_mtime_ns == time for n, time in kept.items())


@pytest.mark.parametrize("place", ["masks/1.png", "overlays/1.jpg"])
def test_an_output_that_cannot_be_written_is_its_images_line(
    vitseg, model, photos, tmp_path, place
):
    """A folder lies where the file should: nothing of this image is written, and the others are done."""
    out = tmp_path / "out"
    assert vitseg("predict", model, photos, "--out", out).code == 0
    for number in (1, 2):
        (out / f"masks/{number}.png").unlink()
        (out / f"overlays/{number}.jpg").unlink()
    (out / place / "kept").mkdir(parents=True)
    result = vitseg("predict", model, photos, "--out", out)
    assert (result.code, result.out.strip()) == (2, f"2 of 3 images -> {out}")
    assert "1.png: Is a directory" in result.messages[0]
    assert str(out / place) in result.messages[0]
    assert ["error" in line for line in lines(out)] == [False, True, False]
    files = [path for path in (out / "masks").iterdir() if path.is_file()]
    assert sorted(path.name for path in files) == ["0.png", "2.png"]
    shutil.rmtree(out / place)
    assert vitseg("predict", model, photos, "--out", out).code == 0


@pytest.mark.parametrize("name", ["1.png", "1.jpg"])
def test_a_full_disk_ends_the_run_and_leaves_whole_files(
    vitseg, model, photos, tmp_path, monkeypatch, name
):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        full_disk(patched, name)
        result = vitseg("predict", model, photos, "--out", out)
    assert result.code == 2
    assert result.out.strip() == f"1 of 3 images -> {out}"
    assert "No space left on device" in result.messages[0]
    assert result.messages[-1] == (
        f"No space left on device: {out}. Make room; the same command goes on."
    )
    assert ["error" in line for line in lines(out)] == [False, True]
    assert (names(out / "masks"), names(out / "overlays")) == (["0.png"], ["0.jpg"])
    assert vitseg("predict", model, photos, "--out", out).code == 0
    assert vitseg("predict", model, photos, "--out", tmp_path / "whole").code == 0
    for folder in ("masks", "overlays"):
        assert content(out / folder) == content(tmp_path / "whole" / folder)


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(
    vitseg, model, photos, tmp_path, monkeypatch
):
    out, written = tmp_path / "out", []
    from vitseg.inference import prediction_folder as module

    write = module.os.write

    def short(file, data):
        written.append(1)
        if len(written) == 2:
            return write(file, data[:20])
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", short)
        result = vitseg("predict", model, photos, "--out", out)
    assert result.code == 2
    assert [Path(line["image"]).stem for line in lines(out)] == ["0"]
    assert vitseg("predict", model, photos, "--out", out).code == 0
    assert len(lines(out)) == 3


def test_a_picture_too_long_for_a_jpeg_gets_a_smaller_overlay(vitseg, model, photos, tmp_path):
    long = np.repeat(photo(3, 400), 165, axis=1)  # 66,000 pixels
    Image.fromarray(long).save(photos / "1.png")
    Image.fromarray(long.transpose(1, 0, 2)).save(photos / "2.png")
    out = tmp_path / "out"
    result = vitseg("predict", model, photos, "--out", out, "--set", "resize=[2048,64]")
    assert result.code == 0, result
    assert result.messages == [
        "overlays smaller than their images: 2, since those are too large for a JPEG or to be looked at (overlay_scale "
        "in the list); masks have every pixel"
    ]
    first, *longer = lines(out)
    assert "overlay_scale" not in first
    for line in longer:
        assert 0.9 < line["overlay_scale"] < 1
        with Image.open(out / line["mask"]) as mask:
            assert mask.size in ((66_000, 3), (3, 66_000))
        with Image.open(out / line["overlay"]) as overlay:
            overlay.load()
            assert max(overlay.size) <= 65_500


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--set", "flip=true"], "set"),
        (["--tiles"], "tiles"),
        (["--blend", "mean"], "blend"),
    ],
)
def test_other_settings_are_refused_by_name(
    vitseg, refused, model, photos, tmp_path, monkeypatch, option, named
):
    command = ("predict", model, photos, "--out", tmp_path / "out")
    with monkeypatch.context() as patched:
        failing(patched, lambda: OSError(errno.EIO, "Input/output error"))
        assert vitseg(*command).code == 2
    before = content(tmp_path / "out")
    line = refused(*command, *option)
    assert f"--out {tmp_path / 'out'} holds predictions already" in line
    assert f"with another {named}:" in line
    assert "--overwrite" in line
    assert content(tmp_path / "out") == before
    assert vitseg(*command, *option, "--overwrite").code == 0


def test_another_model_is_refused_by_name(vitseg, refused, model, photos, tmp_path):
    out = tmp_path / "out"
    assert vitseg("predict", model, photos / "0.png", "--out", out).code == 0
    other = write_model(tmp_path / "other", license="MIT")
    line = refused("predict", other, photos, "--out", out)
    assert "with another model.configuration" in line


def test_other_images_are_refused_and_more_images_are_added(
    vitseg, refused, model, photos, tmp_path
):
    out = tmp_path / "out"
    assert vitseg("predict", model, photos / "0.png", photos / "1.png", "--out", out).code == 0
    line = refused("predict", model, photos / "1.png", photos / "2.png", "--out", out)
    assert f"of other images, too ({photos / '0.png'})" in line
    kept = (out / "masks" / "0.png").stat().st_mtime_ns
    assert vitseg("predict", model, photos, "--out", out).code == 0
    assert (out / "masks" / "0.png").stat().st_mtime_ns == kept
    assert len(lines(out)) == 3


@pytest.mark.parametrize("change", ["image", "mask", "overlay"])
def test_what_has_changed_or_gone_is_done_again(vitseg, model, photos, tmp_path, change):
    out = tmp_path / "out"
    command = ("predict", model, photos, "--out", out)
    assert vitseg(*command).code == 0
    if change == "image":
        Image.fromarray(photo(60, 50, seed=9)).save(photos / "1.png")
    else:
        (out / lines(out)[1][change]).unlink()
    kept = (out / "masks" / "0.png").stat().st_mtime_ns
    result = vitseg(*command)
    assert result.code == 0
    assert "2 were finished before and kept" in result.messages[0]
    assert lines(out)[1]["height"] == (60 if change == "image" else 40)
    assert (out / "masks" / "0.png").stat().st_mtime_ns == kept
    assert (out / "masks" / "1.png").is_file()


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_image_is_done_again_where_its_extra_image_has_changed(
    vitseg, photos, tmp_path, exported
):
    bands = Bands(chosen=Bands.model_validate([1, 2, 4]).chosen, extra_images=("nir",))
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, bands=bands)
    model = write_model(tmp_path / "model", preprocessing=preprocessing)
    if exported:
        pytest.importorskip("onnxruntime")
        assert vitseg("export", model, "--out", tmp_path / "model.onnx").code == 0
        model = tmp_path / "model.onnx"
    (tmp_path / "nir").mkdir()
    for number in range(3):
        Image.fromarray(photo(40, 50, seed=number)[..., 0]).save(tmp_path / f"nir/{number}.png")
    command = ("predict", model, photos, "--out", tmp_path / "out")
    assert vitseg(*command).code == 0
    Image.fromarray(photo(40, 50, seed=9)[..., 0]).save(tmp_path / "nir/1.png")
    result = vitseg(*command)
    assert result.code == 0, result
    assert "2 were finished before and kept" in result.messages[0]


def predicted(monkeypatch) -> list[str]:
    """A list that grows with every image that is predicted."""
    run, seen = Predictor.__call__, []

    def call(self, source):
        seen.append(Path(source).stem)
        return run(self, source)

    monkeypatch.setattr(Predictor, "__call__", call)
    return seen


def test_overwriting_goes_on_after_an_interruption_too(
    vitseg, model, photos, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    command = ("predict", model, photos, "--out", out)
    assert vitseg(*command).code == 0
    with monkeypatch.context() as patched:
        failing(patched, KeyboardInterrupt)
        assert vitseg(*command, "--overwrite").code not in (0, 2)
    assert [line["image"] for line in lines(out)] == [str(photos / "0.png")]
    seen = predicted(monkeypatch)
    result = vitseg(*command, "--overwrite")
    assert result.code == 0
    assert seen == ["1", "2"]
    assert result.messages == [
        "1 were finished before and kept by the same command, which was interrupted"
    ]
    assert len(lines(out)) == 3
    seen.clear()
    assert vitseg(*command, "--overwrite").code == 0  # that one came to its end
    assert seen == ["0", "1", "2"]


@pytest.mark.parametrize("change", ["settings", "image", "no --overwrite before"])
def test_overwriting_begins_anew_where_something_else_is_asked_for(
    vitseg, model, photos, tmp_path, monkeypatch, change
):
    out = tmp_path / "out"
    command = ("predict", model, photos, "--out", out)
    plain = change == "no --overwrite before"
    with monkeypatch.context() as patched:
        failing(patched, KeyboardInterrupt)
        vitseg(*command, *([] if plain else ["--overwrite"]))
    if change == "image":
        Image.fromarray(photo(60, 50, seed=9)).save(photos / "0.png")
    seen = predicted(monkeypatch)
    options = ["--set", "flip=true"] if change == "settings" else []
    assert vitseg(*command, *options, "--overwrite").code == 0
    assert seen == ["0", "1", "2"]


def test_a_folder_among_the_images_is_not_predicted(vitseg, model, photos, monkeypatch):
    command = ("predict", model, photos, "--out", photos / "out")
    with monkeypatch.context() as patched:
        failing(patched, lambda: OSError(errno.EIO, "Input/output error"))
        assert vitseg(*command).code == 2
    result = vitseg(*command)
    assert result.out.strip() == f"3 of 3 images -> {photos / 'out'}"


def test_what_a_killed_run_left_is_cleared_away(vitseg, model, photos, tmp_path):
    """A cut line, a half-written mask of a process that is no more, and no word on the end."""
    out = tmp_path / "out"
    assert vitseg("predict", model, photos, "--out", out).code == 0
    first = (out / "predictions.jsonl").read_text().splitlines(keepends=True)[0]
    (out / "predictions.jsonl").write_text(first + first[:30])
    (out / "masks" / ".1.png.4194999.partial").write_text("half")
    shutil.rmtree(out / "overlays")
    (out / "overlays").mkdir()
    result = vitseg("predict", model, photos, "--out", out)
    assert result.code == 0, result
    assert len(lines(out)) == 3
    assert names(out / "masks") == ["0.png", "1.png", "2.png"]


def listed(out: Path) -> list[str]:
    """The files that the lines name."""
    return sorted(line[kind] for line in lines(out) for kind in ("mask", "overlay") if kind in line)


def written(out: Path) -> list[str]:
    """The files that are there."""
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if len(path.parts) > 1)


def test_masks_of_lines_that_are_no_more_go_and_other_files_stay(vitseg, model, photos, tmp_path):
    out = tmp_path / "out"
    (photos / "sub").mkdir()
    (photos / "2.png").rename(photos / "sub/2.png")
    command = ("predict", model, photos, "--out", out)
    assert vitseg(*command).code == 0
    assert listed(out) == written(out)
    (out / "masks/mine.png").write_text("not written by vitseg")
    shutil.rmtree(photos / "sub")
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:200])
    assert vitseg(*command, "--set", "flip=true", "--overwrite").code == 2
    assert written(out) == sorted([*listed(out), "masks/mine.png"])
    assert listed(out) == ["masks/0.png", "overlays/0.jpg"]
    assert not (out / "masks/sub").exists()


def test_an_image_that_is_damaged_later_keeps_no_mask(vitseg, model, photos, tmp_path):
    command = ("predict", model, photos, "--out", tmp_path / "out")
    assert vitseg(*command).code == 0
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:200])
    assert vitseg(*command).code == 2
    assert names(tmp_path / "out/masks") == ["0.png", "2.png"]


def test_a_mask_that_gets_another_name_keeps_no_earlier_one(vitseg, model, photos, tmp_path):
    command = ("predict", model, photos, "--out", tmp_path / "out")
    assert vitseg(*command).code == 0
    Image.fromarray(photo(30, 60, seed=7)).save(photos / "0.jpg")
    assert vitseg(*command).code == 0
    assert names(tmp_path / "out/masks") == ["0.jpg.png", "0.png.png", "1.png", "2.png"]
    assert listed(tmp_path / "out") == written(tmp_path / "out")


def test_lines_that_lead_out_of_the_folder_delete_nothing(vitseg, model, photos, tmp_path):
    out = tmp_path / "out"
    assert vitseg("predict", model, photos, "--out", out).code == 0
    first, *others = lines(out)
    (tmp_path / "mine.png").write_text("mine")
    first |= {"mask": "masks/../../mine.png", "overlay": str(tmp_path / "mine.png")}
    text = "".join(json.dumps(line) + "\n" for line in (first, *others))
    (out / "predictions.jsonl").write_text(text)
    assert vitseg("predict", model, photos, "--out", out, "--overwrite").code == 0
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_names_as_long_as_file_systems_allow(vitseg, model, photos, tmp_path):
    name = "n" * 251
    (photos / "1.png").rename(photos / f"{name}.png")
    assert vitseg("predict", model, photos, "--out", tmp_path / "out").code == 0
    assert f"{name}.png" in names(tmp_path / "out" / "masks")


def test_predictions_of_other_runs_are_no_images(vitseg, model, photos):
    for out in ("first", "second"):
        result = vitseg("predict", model, photos, "--out", photos / out)
        assert [Path(line["image"]).name for line in lines(photos / out)] == [
            "0.png", "1.png", "2.png",
        ], result  # fmt: skip
    assert f"{photos}/first holds predictions: its 6 masks and overlays are left out." in (
        result.messages
    )
    result = vitseg("predict", model, photos / "first" / "masks", "--out", photos / "3")
    assert result.out.startswith("3 of 3 images")  # what is named is taken


def test_one_image_by_several_ways_counts_once(vitseg, model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    result = vitseg("predict", model, "0.png", photos / ".." / "photos", "*.png", "--out", "../o")
    assert result.code == 0, result
    assert len(lines(tmp_path / "o")) == 3


def test_names_that_are_no_utf8_are_finished_once(vitseg, model, photos, tmp_path):
    (photos / "0.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    for _ in range(2):
        (tmp_path / "out" / "masks" / "1.png").unlink(missing_ok=True)
        result = vitseg("predict", model, photos, "--out", tmp_path / "out")
        assert result.code == 0, result
        assert len(lines(tmp_path / "out")) == 3
    assert "2 were finished before and kept" in result.err
    result = vitseg("predict", model, photos, "--out", tmp_path / "tiles", "--tiles")
    assert result.code == 2
    assert "name that is not in UTF-8, which rasterio needs" in result.err


@pytest.mark.parametrize("name", ["a" * 251, "é" * 120])
def test_long_names_in_tiles(vitseg, model, photos, tmp_path, name):
    shutil.copy(photos / "0.png", photos / f"{name}.png")
    result = vitseg("predict", model, photos / f"{name}.png", "--out", tmp_path / "o", "--tiles")
    assert result.code == 0, result
    assert names(tmp_path / "o" / "masks") == [f"{name}.tif"]


def test_explain_goes_on_behind_an_image_that_fails(vitseg, model, photos, tmp_path, monkeypatch):
    from vitseg.explain import stages

    run = stages.View.of

    def of(predictor, source):
        if Path(source).stem == "1":
            raise OSError(errno.EIO, "Input/output error")
        return run(predictor, source)

    monkeypatch.setattr(stages.View, "of", of)
    out = tmp_path / "out"
    result = vitseg("explain", model, photos, "--out", out)
    assert result.code == 2, result
    assert names(out) == ["0.png", "2.png", "index.html"]
    assert "1.png: Input/output error" in result.messages[0]
