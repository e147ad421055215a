"""Every wrong input gets one clear line and exit code 2, and nothing is overwritten or lost."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CROP, content, photo, write_recipe

NO_IMAGE = {"truncated JPEG", "text", "bomb", "empty"}


def save_mask(path: Path, value: int, size=(64, 80)) -> None:
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def write_bomb(path: Path) -> None:
    """A PNG of 60,000 x 60,000 pixels in its header, and a few bytes."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + payload))
        return struct.pack(">I", len(payload)) + kind + payload + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def write_truncated_jpeg(path: Path) -> None:
    Image.fromarray(photo(64, 80)).save(path, "JPEG", quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_folder(data: Path) -> None:
    shutil.rmtree(data)
    data.mkdir()


def empty_images(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.unlink()


# What is done to a good data set of two validation images, and what the line must name.
SPOILT = {
    "missing folder": (shutil.rmtree, ["is not a folder", "images/, masks/ and classes.json"]),
    "empty folder": (empty_folder, ["images is not a folder"]),
    "no images": (
        empty_images,
        ["ids have no image file in", "images: ", "remove the ids or add the files"],
    ),
    "missing classes": (lambda d: (d / "classes.json").unlink(), ["classes.json does not exist"]),
    "broken classes": (lambda d: (d / "classes.json").write_text("{"), ["not a readable JSON"]),
    "missing split": (lambda d: (d / "val.txt").unlink(), ["'val' is not a split", "train"]),
    "image without mask": (
        lambda d: (d / "masks" / "val_1.png").unlink(),
        ["1 of 2 ids have no mask file in", "masks: val_1"],
    ),
    "sizes differ": (
        lambda d: save_mask(d / "masks" / "val_1.png", 0, (64, 79)),
        ["val_1.png is 79x64 pixels", "80x64", "must have the size of its image"],
    ),
    "unknown id": (
        lambda d: save_mask(d / "masks" / "val_1.png", 7),
        ["val_1.png has ids outside the class table: 7", "allows 0-2 and 255 (ignore)"],
    ),
    "truncated JPEG": (
        lambda d: write_truncated_jpeg(d / "images" / "val_1.png"),
        ["val_1.png is damaged or incomplete"],
    ),
    "text": (
        lambda d: (d / "images" / "val_1.png").write_text("text"),
        ["val_1.png is not an image in a known format", "JPEG, PNG"],
    ),
    "empty": (lambda d: (d / "images" / "val_1.png").write_bytes(b""), ["val_1.png is empty"]),
    "bomb": (
        lambda d: write_bomb(d / "images" / "val_1.png"),
        ["val_1.png is 60000x60000", "at most", "Scale it down"],
    ),
}


# What the check before a training says of the same, where it comes before the reader does.
FOUND_BY_THE_CHECK = {
    "sizes differ": ["1 mask has another size than its image", "val_1.png"],
    "unknown id": ["1 mask has ids outside the class table", "0-2, 255: 7", "val_1.png"],
    "bomb": ["1 mask has another size than its image", "val_1.png"],
}


@pytest.fixture(params=SPOILT)
def spoilt(request, data) -> tuple[str, list[str]]:
    """Spoils the data set; returns how, and what the line must name."""
    spoil, named = SPOILT[request.param]
    spoil(data)
    return request.param, named


def test_evaluate_on_a_spoilt_data_set(refused, tmp_path, data, model, spoilt):
    report = tmp_path / "scores.json"
    report.write_text("older scores")
    before = content(tmp_path)
    line = refused("evaluate", model, "--data", f"folder:{data}", "--json", report)
    assert line.startswith("DataError: ")
    for words in spoilt[1]:
        assert words in line
    assert content(tmp_path) == before


def test_train_on_a_spoilt_data_set(refused, tmp_path, data, spoilt):
    """What the checks at the start can see leaves no run behind; the data stay as they are in any case."""
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=1)
    before = content(tmp_path)
    line = refused("train", recipe, "--data", f"folder:{data}", "--out", tmp_path / "run")
    assert line.startswith("DataError: ")
    for words in FOUND_BY_THE_CHECK.get(spoilt[0], spoilt[1]):
        assert words in line
    after = content(tmp_path)
    assert {key: after[key] for key in before} == before
    if spoilt[0] not in {"truncated JPEG"}:
        assert after == before


@pytest.mark.parametrize("num_workers", [0, 1])
def test_train_on_a_spoilt_training_image(refused, tmp_path, data, num_workers):
    """Its header is sound, so that it is noticed on the way, by a loader process or by this one."""
    for path in (data / "images").glob("train_*.png"):
        write_truncated_jpeg(path)
    recipe = write_recipe(tmp_path / "tiny.yaml")
    command = ("train", recipe, f"data.num_workers={num_workers}", "--data", f"folder:{data}")
    line = refused(*command, "--out", tmp_path / "run")
    assert line.startswith(f"DataError: {data / 'images' / 'train_'}")
    assert "is damaged or incomplete" in line


@pytest.mark.parametrize("kind", [*sorted(NO_IMAGE), "missing", "empty folder", "no match"])
def test_predict_on_what_is_no_image(refused, tmp_path, model, kind):
    path = tmp_path / "photo.png"
    if kind == "empty folder":
        path.mkdir()
    elif kind in NO_IMAGE:
        (tmp_path / "images").mkdir()
        SPOILT[kind][0](tmp_path)
        shutil.move(tmp_path / "images" / "val_1.png", path)
    elif kind == "no match":
        path = tmp_path / "*.jpg"
    before = content(tmp_path)
    line = refused("predict", model, path, "--out", tmp_path / "out")
    assert line.startswith(f"DataError: {path} ")
    after = content(tmp_path)
    assert {key: after[key] for key in before} == before
    if kind in NO_IMAGE:
        assert json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["error"] in line
    else:
        assert after == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("decoder.num_layer=2", ["decoder.num_layer", "Did you mean decoder.num_layers?"]),
        ("trainig.iterations=2", ["'trainig'", "Did you mean 'training'?"]),
        ("method=segvitt", ["'segvitt' is not a known method", "Known: ", "segvit"]),
        ("backbone.name=test_vitt", ["'test_vitt' is not a known timm ViT", "Did you mean"]),
        ("backbone.name=resnet18", ["resnet18", "no plain ViT"]),
        ("backbone.taps=[1,99]", ["backbone.taps names block 99", "blocks 0-5"]),
        ("backbone.weights=none.pth", ["weights names a file but pretrained is false"]),
        ("training.iterations", ["is no override", "section.field=value"]),
        ("data.train_split=trian", ["'trian' is not a split", "train, val"]),
        ("data.source=streets:x", ["'streets' is not a known data set", "folder, "]),
    ],
)
def test_train_with_a_wrong_recipe(refused, tmp_path, data, override, named):
    recipe = write_recipe(tmp_path / "tiny.yaml")
    before = content(tmp_path)
    source = [] if override.startswith("data.source") else ["--data", f"folder:{data}"]
    line = refused("train", recipe, override, *source, "--out", tmp_path / "run")
    for words in named:
        assert words in line
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ("none.yaml", ["none.yaml", "List them with: vitseg recipes"]),
        ("list.yaml", ["list.yaml holds list"]),
        ("broken.yaml", ["broken.yaml is not YAML"]),
    ],
)
def test_train_without_a_recipe(refused, tmp_path, data, recipe, named):
    (tmp_path / "list.yaml").write_text("- a")
    (tmp_path / "broken.yaml").write_text("a: [1")
    before = content(tmp_path)
    line = refused(
        "train", tmp_path / recipe, "--data", f"folder:{data}", "--out", tmp_path / "run"
    )
    for words in named:
        assert words in line
    assert content(tmp_path) == before


@pytest.mark.parametrize("source", ["data", "folder:", "foldr:data", ":data", "folder:none"])
def test_evaluate_with_a_wrong_data_set_name(refused, model, source):
    line = refused("evaluate", model, "--data", source)
    assert "folder" in line


@pytest.fixture
def own_model(tmp_path, model) -> Path:
    return shutil.copytree(model, tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "SHA256SUMS"])
@pytest.mark.parametrize("change", ["missing", "changed"])
def test_a_damaged_model_directory(refused, tmp_path, data, own_model, name, change):
    if change == "missing":
        (own_model / name).unlink()
    else:
        (own_model / name).write_bytes((own_model / name).read_bytes()[:-9] + b"different")
    before = content(tmp_path)
    image = data / "images" / "val_0.png"
    lines = [
        refused("predict", own_model, image, "--out", tmp_path / "out"),
        refused("evaluate", own_model, "--data", f"folder:{data}"),
    ]
    for line in lines:
        assert line.startswith("CheckpointError: ")
        assert str(own_model) in line
        assert (name in line) or (name == "SHA256SUMS" and "changed" in line)
    assert content(tmp_path) == before


def test_a_folder_without_model(refused, tmp_path, data):
    before = content(tmp_path)
    for model in (data, tmp_path / "none", data / "classes.json"):
        line = refused("predict", model, data / "images", "--out", tmp_path / "out")
        assert str(model) in line
        assert "model directory" in line
    assert content(tmp_path) == before


def test_a_device_that_is_not_here(refused, tmp_path, data, model):
    line = refused(
        "predict", model, data / "images", "--out", tmp_path / "out", "--device", "cuda:99"
    )
    assert "'cuda:99' cannot be used here" in line
    assert "Allowed: auto, cpu" in line
    assert not (tmp_path / "out").exists()


def test_train_into_a_folder_that_holds_a_run(refused, vitseg, tmp_path, data):
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    command = ("train", recipe, "--data", f"folder:{data}", "--out", tmp_path / "run")
    assert vitseg(*command).code == 0
    before = content(tmp_path)
    line = refused(*command)
    assert f"--out {tmp_path / 'run'} is not empty" in line
    assert "give a new folder, or pass --resume" in line
    assert content(tmp_path) == before


def test_train_into_a_file(refused, tmp_path, data):
    recipe = write_recipe(tmp_path / "tiny.yaml")
    before = content(tmp_path)
    line = refused("train", recipe, "--data", f"folder:{data}", "--out", recipe)
    assert "is a file: give a folder" in line
    assert content(tmp_path) == before


def test_resume_without_a_state(refused, tmp_path, data):
    recipe = write_recipe(tmp_path / "tiny.yaml")
    before = content(tmp_path)
    for out in (tmp_path / "none", data):
        command = ("train", recipe, "--data", f"folder:{data}", "--out", out, "--resume")
        assert "has no state.ckpt to resume from" in refused(*command)
    assert content(tmp_path) == before


def test_resume_of_a_run_that_was_killed_before_its_first_save(vitseg, tmp_path, data):
    out = tmp_path / "run"
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    command = ("train", recipe, "--data", f"folder:{data}", "--out", out)
    assert vitseg(*command).code == 0
    for name in ("state.ckpt", "result.json"):
        (out / name).unlink()
    result = vitseg(*command, "--resume")
    assert result.code == 0, result.err
    assert any("ended before its first save" in line for line in result.messages)
    rows = (out / "train.csv").read_text().splitlines()
    assert len(rows) == 2, "those of before are gone"
    assert (out / "state.ckpt").is_file()


def test_predict_into_a_folder_that_holds_predictions(refused, vitseg, tmp_path, data, model):
    command = ("predict", model, data / "images" / "val_0.png", "--out", tmp_path / "out")
    assert vitseg(*command).code == 0
    before = content(tmp_path)
    line = refused(*command)
    assert f"--out {tmp_path / 'out'} holds predictions already" in line
    assert "--overwrite" in line
    assert content(tmp_path) == before


@pytest.mark.parametrize("option", [[], ["--overwrite"]])
def test_predict_into_a_data_set_keeps_its_masks(refused, tmp_path, data, model, option):
    """Predictions would have the names of the masks."""
    before = content(tmp_path)
    line = refused("predict", model, data / "images", "--out", data, *option)
    assert "masks that no prediction wrote" in line
    assert "Nothing was changed" in line
    assert content(tmp_path) == before


def test_predict_into_a_file(refused, tmp_path, data, model):
    before = content(tmp_path)
    line = refused("predict", model, data / "images", "--out", data / "classes.json")
    assert "is a file: give a folder" in line
    assert content(tmp_path) == before


def test_evaluate_into_a_place_that_is_no_file(refused, tmp_path, data, model):
    before = content(tmp_path)
    for place, named in ((tmp_path / "none" / "s.json", "does not exist"), (data, "is a folder")):
        line = refused("evaluate", model, "--data", f"folder:{data}", "--json", place)
        assert f"--json {place}" in line
        assert named in line
    assert content(tmp_path) == before


def test_evaluate_on_other_classes(refused, tmp_path, data, model):
    (data / "classes.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    line = refused("evaluate", model, "--data", f"folder:{data}")
    assert "class 0 is 'sky' in the model and 'a' in the data set" in line


@pytest.mark.parametrize("kind", ["text", "missing", "other"])
def test_convert_what_is_no_checkpoint(refused, tmp_path, kind):
    path = tmp_path / "segvit.pth"
    if kind == "text":
        path.write_text("no checkpoint")
    elif kind == "other":
        import torch

        torch.save({"state_dict": {"head.weight": torch.zeros(*CROP)}}, path)
    before = content(tmp_path)
    line = refused("convert", path, "--out", tmp_path / "model")
    assert line.startswith("CheckpointError: ")
    assert content(tmp_path) == before


def test_demo_into_a_folder_that_is_not_empty(refused, data):
    before = content(data)
    line = refused("demo", "--out", data)
    assert f"--out {data} is not empty (classes.json, images, masks" in line
    assert content(data) == before
