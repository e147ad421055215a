"""A run whose images have more than 8 bits: one range for all, kept with the run and its model, and followed later."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.data.deep_sets import png8, png16, some, write_deep_set
from tests.shown import Lines
from tests.tiny import tiny_recipe
from vitseg.changes import changed_recipe
from vitseg.data.catalog import open_dataset
from vitseg.errors import CheckpointError
from vitseg.evaluation.evaluate import evaluate
from vitseg.images.value_range import ValueRange
from vitseg.inference.predictor import load
from vitseg.runs import RECIPE
from vitseg.studies.continued import require_same_run, train_or_continue
from vitseg.training import loop
from vitseg.training.loop import train
from vitseg.training.preview import preview
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.task import task_of
from vitseg.training.value_range import with_value_range

RANGE = (0, 4095)


def recipe_of(root: Path, **data) -> Recipe:
    raw = tiny_recipe(iterations=2, val_interval=2)
    raw["data"] |= {"source": f"folder:{root}", **data}
    return parse_recipe(raw)


def weights_of(run: Path) -> bytes:
    return (run / "last" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_deep_set(tmp_path_factory.mktemp("deep") / "data", png16(4000))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe_of(root), out)
    return out


def test_recipe_model_and_result_of_the_run_have_it(run):
    assert yaml.safe_load((run / RECIPE).read_text())["data"]["value_range"] == [0, 4095]
    for name in ("best", "last"):
        record = load(run / name, "cpu").record
        assert record.preprocessing.value_range == RANGE
        assert record.recipe["data"]["value_range"] == [0, 4095]
    result = json.loads((run / "result.json").read_text())
    assert result["recipe"]["data"]["value_range"] == [0, 4095]
    assert result["final"]["value_range"] == [0, 4095]


def test_it_is_said_in_one_line(root):
    display = Lines()
    recipe = recipe_of(root)
    with_value_range(recipe, task_of(recipe), display)
    (line,) = [line for line in display.lines if line.startswith("warning")]
    assert "4 training images have uint16 pixels" in line
    assert "0 to 4,095" in line
    assert "data.value_range=[0,4095]" in line


def test_what_the_model_is_trained_and_validated_on_is_read_by_it(root):
    recipe = recipe_of(root)
    settled, task = with_value_range(recipe, task_of(recipe), Lines())
    assert settled.data.value_range == RANGE
    assert task.val_set is not None
    for dataset in (task.train_set, task.val_set):
        assert dataset.value_range == RANGE
    assert task.train_set[0].image.max() < 70  # a quarter of the light of the brightest


def test_the_recipe_of_the_run_repeats_it(run, tmp_path):
    recipe = parse_recipe(yaml.safe_load((run / RECIPE).read_text()))
    train(recipe, tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(run)


def test_a_declared_range_is_the_same_run(run, root, tmp_path):
    display = Lines()
    train(recipe_of(root, value_range=RANGE), tmp_path / "declared", display=display)
    assert not [line for line in display.lines if "black to white" in line]
    assert weights_of(tmp_path / "declared") == weights_of(run)


def test_images_of_8_bits_leave_the_recipe_as_it_is(tmp_path):
    recipe = recipe_of(write_deep_set(tmp_path / "data", png8))
    display, task = Lines(), task_of(recipe)
    assert with_value_range(recipe, task, display) == (recipe, task)
    assert not display.lines


def test_deep_validation_images_alone_are_told_of(tmp_path):
    root = write_deep_set(tmp_path / "data", some(png8, png16(4000), [4]))
    display, recipe = Lines(), recipe_of(root)
    settled, _ = with_value_range(recipe, task_of(recipe), display)
    assert settled.data.value_range is None
    (line,) = display.lines
    assert "1 image of val has more than 8 bits" in line
    assert "i4.png" in line


def test_a_resumed_run_keeps_the_range_that_it_began_with(root, run, monkeypatch):
    measured = []
    monkeypatch.setattr("vitseg.training.value_range.measured_range", measured.append)
    train(recipe_of(root), run, resume=True)
    assert not measured
    assert load(run, "cpu").preprocessing.value_range == RANGE


def test_a_run_of_another_declared_range_is_not_resumed(root, run):
    with pytest.raises(CheckpointError, match=r"data\.value_range changed"):
        train(recipe_of(root, value_range=(0, 3000)), run, resume=True)


def test_studies_take_the_run_as_that_of_its_recipe(root, run, monkeypatch):
    recipe = recipe_of(root)
    assert changed_recipe(run, recipe.to_mapping()) == []
    require_same_run(recipe, run)
    monkeypatch.setattr(loop, "_Loop", None)  # nothing is trained
    train_or_continue(recipe, run, Lines())
    assert changed_recipe(run, recipe_of(root, value_range=(0, 9)).to_mapping()) == [
        "data.value_range"
    ]


def test_evaluations_and_predictions_follow_it(root, run):
    predictor = load(run, "cpu")
    dataset = open_dataset(f"folder:{root}", "val")
    alike = dataset.with_value_range(ValueRange(*RANGE))
    np.testing.assert_array_equal(predictor.pixels_of(root / "images" / "i4.png"), alike[0].image)
    scored = evaluate(predictor, dataset)
    assert scored.protocol["value_range"] == RANGE
    assert scored.notices == ()
    np.testing.assert_array_equal(scored.counts, evaluate(predictor, alike).counts)


def test_an_evaluation_without_a_range_says_so_once(root, tmp_path):
    train(recipe_of(write_deep_set(tmp_path / "data", png8)), tmp_path / "run")
    (line,) = evaluate(load(tmp_path / "run", "cpu"), open_dataset(f"folder:{root}", "val")).notices
    assert line.startswith("2 images (")
    assert "each is read by its own values" in line


def test_a_preview_shows_the_crops_of_the_training(root):
    recipe = recipe_of(root)
    dataset = open_dataset(f"folder:{root}", "train")
    seen = preview(recipe, dataset, 4)
    brightest = {each.sample.id: int(each.sample.image.max()) for each in seen}
    assert brightest["i0"] < 70 < 240 < brightest["i3"]
    declared = preview(recipe_of(root, value_range=(0, 1000)), dataset, 4)
    assert max(int(each.sample.image.max()) for each in declared if each.sample.id == "i0") > 240


def test_another_range_at_prediction_wins_and_is_said(run, root, caplog):
    with caplog.at_level("WARNING", logger="vitseg"):
        predictor = load(run, "cpu", value_range=(0, 2000))
    (line,) = caplog.messages
    assert "0 to 4,095" in line
    assert "0 to 2,000" in line
    path = root / "images" / "i4.png"
    values = np.array(Image.open(path)).astype(float)
    expected = np.floor((values / 2000).clip(0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(predictor.pixels_of(path)[..., 0], expected)


def test_the_same_range_is_not_worth_a_word(run, caplog):
    load(run, "cpu", value_range=RANGE)
    assert not caplog.messages


def test_a_class_files_range_is_kept_with_the_run(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    (root / "classes.json").write_text(
        '{"classes": ["sky", "road", "tree"], "value_range": [0, 5000]}'
    )
    display, recipe = Lines(), recipe_of(root)
    settled, task = with_value_range(recipe, task_of(recipe), display)
    assert settled.data.value_range == task.train_set.value_range == (0, 5000)
    assert not display.lines
    stated = recipe_of(root, value_range=(0, 900))  # comes first
    settled, task = with_value_range(stated, task_of(stated), display)
    assert settled.data.value_range == task.train_set.value_range == (0, 900)
