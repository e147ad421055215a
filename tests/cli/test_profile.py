from __future__ import annotations

import json

import pytest
from PIL import Image

from tests.tiny import photo, write_recipe

KEYS = {
    "params_m", "params_training_m", "gmacs", "gmacs_backbone", "gmacs_decoder", "latency_ms",
    "images_per_second", "peak_memory_mb", "operators", "batches", "settings", "versions",
}  # fmt: skip


def test_a_model_is_profiled(vitseg, tmp_path, model):
    target = tmp_path / "profile.json"
    result = vitseg("profile", model, "--size", "64x96", "--runs", 2, "--batch", 2, "--json", target)  # fmt: skip
    assert result.code == 0, result.err
    assert not result.messages
    for words in ("used in a prediction", "GMACs of one 64x96 image", "linear", "p95 ms"):
        assert words in result.out
    values = json.loads(target.read_text())
    assert values.keys() == KEYS
    assert set(values["latency_ms"]) == {"p50", "p95"}
    assert values["gmacs"] == pytest.approx(values["gmacs_backbone"] + values["gmacs_decoder"])
    assert values["settings"]["size"] == [64, 96]
    assert values["settings"]["classes"] == 3


def test_a_recipe_is_built_without_its_weights(vitseg, tmp_path):
    recipe, target = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "profile.json"
    result = vitseg(
        "profile", recipe, "backbone.pretrained=true", "backbone.taps=[1]", "--size", "64x64", "--classes", 4,
        "--runs", 1, "--json", target,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert not result.messages
    settings = json.loads(target.read_text())["settings"]
    assert settings["classes"] == 4
    assert settings["overrides"] == ["backbone.pretrained=true", "backbone.taps=[1]"]


def test_a_recipe_without_classes_takes_150_and_says_so(vitseg, tmp_path):
    result = vitseg("profile", write_recipe(tmp_path / "r.yaml"), "--size", "32x32", "--runs", 1)
    assert result.code == 0
    assert result.messages == ["a recipe names no classes: 150 are taken (--classes)"]
    assert "150 classes" in " ".join(result.out.split())  # the title may be wrapped


def test_photos_of_a_folder(vitseg, tmp_path, model):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(photo(50, 60, number)).save(tmp_path / "photos" / f"{number}.png")
    result = vitseg("profile", model, "--size", "64x64", "--runs", 1, "--images", tmp_path / "photos")  # fmt: skip
    assert result.code == 0, result.err
    assert "mean of 3 images" in " ".join(result.out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "512"], "'512' is not written HEIGHTxWIDTH"),
        (["--size", "0x512"], "'0x512' is not written"),
        (["--size", "64x64", "--classes", "5"], "is a model, which has its classes"),
        (["--size", "64x64", "--json", "/nowhere/x.json"], "/nowhere does not exist"),
        (["--size", "64x64", "--json", "."], "--json . is a folder"),
        (["--size", "100000x100000"], "has more pixels than an image may have"),
        (["--size", "64x64", "--images", "/nowhere"], "/nowhere is no file, no folder"),
        (["--size", "64x64", "--device", "toaster"], "device 'toaster' cannot be used"),
    ],
)
def test_mistakes_are_named(refused, model, arguments, words):
    assert words in refused("profile", model, *arguments)


def test_neither_a_recipe_nor_a_model(refused, tmp_path):
    assert "no such file" in refused("profile", tmp_path / "x.yaml", "--size", "64x64")
    assert "holds no model" in refused("profile", tmp_path, "--size", "64x64")
