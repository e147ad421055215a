"""`--value-range`, and what is said of pictures of more than 8 bits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.deep_sets import png16, write_deep_set
from vitseg.inference.predictor import Predictor


@pytest.fixture
def deep(tmp_path):
    return write_deep_set(tmp_path / "deep", png16(4000))


@pytest.fixture
def floats(tmp_path):
    folder = tmp_path / "floats"
    folder.mkdir()
    for number in range(2):
        values = np.linspace(0, 0.5, 64 * 64, dtype=np.float32).reshape(64, 64)
        Image.fromarray(values).save(folder / f"{number}.tif")
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The images as predictors read them."""
    read, images = Predictor.read, []

    def seen_read(self, source, placed=False):
        found = read(self, source, placed)
        images.append(found.pixels)
        return found

    monkeypatch.setattr(Predictor, "read", seen_read)
    return images


def test_a_folder_is_told_of_in_one_line(vitseg, model, deep, tmp_path):
    result = vitseg("predict", model, deep / "images", "--out", tmp_path / "out")
    assert result.code == 0
    (line,) = result.messages
    assert line.startswith("6 images (")
    assert "and 3 more" in line
    assert "0 to 1,0" in line  # of the darkest
    assert "0 to 4,095 in the brightest" in line
    assert "--value-range LOW HIGH" in line


@pytest.mark.slow
def test_explanations_too(vitseg, model, deep, tmp_path):
    result = vitseg("explain", model, deep / "images", "--out", tmp_path / "out")
    (line,) = result.messages
    assert line.startswith("6 images (")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_stated_range_is_that_of_all(vitseg, model, deep, tmp_path, seen, verb):
    out = tmp_path / "out"
    command = [verb, model, deep / "images", "--out", out, "--value-range", "0", "4000"]
    result = vitseg(*command)
    assert result.code == 0
    assert result.messages == []
    brightest = [int(image.max()) for image in seen]
    np.testing.assert_allclose(
        brightest, [255 * share for share in (0.25, 0.5, 0.75, 1, 0.6, 0.8)], atol=1
    )


def test_floating_point_pictures_are_refused_without_and_read_with_it(
    vitseg, model, floats, tmp_path, seen
):
    out = tmp_path / "out"
    result = vitseg("predict", model, floats, "--out", out)
    assert result.code == 2
    assert all("--value-range LOW HIGH" in line for line in result.messages)
    assert (
        vitseg("predict", model, floats, "--out", tmp_path / "b", "--value-range", 0, 1).code == 0
    )
    assert {int(image.max()) for image in seen} == {128}


def test_tiles(vitseg, model, floats, tmp_path):
    pytest.importorskip("rasterio")
    command = ["predict", model, floats, "--tiles", "--out", tmp_path / "out"]
    assert vitseg(*command).code == 2
    assert vitseg(*command, "--value-range", 0, 1, "--overwrite").code == 0


def test_a_folder_is_not_gone_on_with_by_another_range(vitseg, model, floats, tmp_path):
    command = ["predict", model, floats, "--out", tmp_path / "out", "--value-range"]
    assert vitseg(*command, 0, 1).code == 0
    again = vitseg(*command, 0, 2)
    assert again.code == 2
    assert "another value range" in again.messages[0]


def test_an_evaluation_says_what_it_has_read_by(vitseg, model, deep, tmp_path):
    found = tmp_path / "scores.json"
    command = ["evaluate", model, "--data", f"folder:{deep}", "--json", found]
    (line,) = vitseg(*command).messages
    assert line.startswith("2 images (")
    assert json.loads(found.read_text())["value_range"] is None
    assert vitseg(*command, "--value-range", 0, 4000).messages == []
    assert json.loads(found.read_text())["value_range"] == [0, 4000]


@pytest.mark.parametrize("pair", [("5", "5"), ("9", "1"), ("nan", "1"), ("0", "inf")])
@pytest.mark.parametrize("verb", ["predict", "evaluate", "explain", "video"])
def test_what_is_no_range_is_refused(refused, model, deep, tmp_path, verb, pair):
    arguments = {
        "predict": [model, deep, "--out", tmp_path / "out"],
        "explain": [model, deep, "--out", tmp_path / "out"],
        "evaluate": [model, "--data", f"folder:{deep}"],
        "video": [model, tmp_path / "in.mp4", tmp_path / "out.mp4"],
    }
    line = refused(verb, *arguments[verb], "--value-range", *pair)
    assert "two finite numbers" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("came", [["3"], ["a", "b"]])
def test_one_number_or_none(vitseg, model, deep, tmp_path, came):
    result = vitseg("predict", model, deep, "--out", tmp_path / "out", "--value-range", *came)
    assert result.code == 2
    assert "--value-range" in result.err


def test_training_measures_and_check_says_the_same(vitseg, deep, tmp_path):
    from tests.tiny import write_recipe

    recipe = write_recipe(tmp_path / "recipe.yaml", iterations=2, val_interval=2)
    data = f"folder:{deep}"
    result = vitseg("train", recipe, "--data", data, "--out", tmp_path / "run")
    assert result.code == 0
    (line,) = [line for line in result.messages if line.startswith("warning")]
    assert "0 to 4,095 is black to white in all of them" in line
    checked = vitseg("data", "check", data, "--json", tmp_path / "check.json")
    assert checked.code == 0
    report = json.loads((tmp_path / "check.json").read_text())
    (finding,) = [each for each in report["findings"] if each["code"] == "unstated-range"]
    assert "0 to 4,095" in finding["fix"]
