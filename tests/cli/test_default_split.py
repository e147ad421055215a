"""Commands on data without splits, as the first page of the documents shows them."""

from __future__ import annotations

import json

import pytest

from tests.tiny import make_model, make_record, write_dataset, write_model
from vitseg.checkpoint.model_dir import save_model
from vitseg.cli.default_split import held_out_split, training_split
from vitseg.data.catalog import open_dataset
from vitseg.runs import BEST, PLAN, VAL_LIST, validated_on


@pytest.fixture
def unsplit(tmp_path):
    """Images and masks alone: six pictures."""
    root = write_dataset(tmp_path / "unsplit")
    for split in ("train", "val"):
        (root / f"{split}.txt").unlink()
    return root


@pytest.fixture
def run(tmp_path, unsplit):
    """The folder of a run that has split them."""
    folder = tmp_path / "run"
    write_model(folder / BEST)
    (folder / PLAN).mkdir()
    ids = open_dataset(f"folder:{unsplit}", "all").ids[:2]
    lines = ["# images of the split all", *ids]
    (folder / PLAN / VAL_LIST).write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("part", ["", BEST])
def test_a_model_is_measured_on_what_its_training_held_out(vitseg, run, unsplit, tmp_path, part):
    scores = tmp_path / "scores.json"
    done = vitseg("evaluate", run / part, "--data", f"folder:{unsplit}", "--json", scores)
    assert done.code == 0, done
    (said,) = [line for line in done.messages if "no split val" in line]
    assert str(run / PLAN / VAL_LIST) in said
    assert json.loads(scores.read_text())["images"] == 2


def test_a_run_that_was_repeated_has_the_lists_of_the_first(run, unsplit, tmp_path):
    again = tmp_path / "again"
    write_model(again / BEST)
    (again / "recipe.yaml").write_text(f"data:\n  val_split: {run / PLAN / VAL_LIST}\n")
    assert held_out_split(f"folder:{unsplit}", again, None) == str(run / PLAN / VAL_LIST)


@pytest.mark.parametrize(
    "text", ["data: [", "- 1", "data: 3", "data: {val_split: val}", "data: {val_split: no.txt}"]
)
def test_a_run_without_lists_has_none(tmp_path, text):
    write_model(tmp_path / BEST)
    (tmp_path / "recipe.yaml").write_text(text)
    assert validated_on(tmp_path) is None


def test_the_data_sets_own_split_comes_first(vitseg, run, data):
    done = vitseg("evaluate", run, "--data", f"folder:{data}")
    assert done.code == 0, done
    assert "no split val" not in done.err
    assert held_out_split(f"folder:{data}", run, "train") == "train"


def test_a_model_without_a_run_says_what_to_do(refused, model, unsplit):
    line = refused("evaluate", model, "--data", f"folder:{unsplit}")
    assert "'val' is not a split of" in line
    assert "Valid: all." in line
    assert "plan/val.txt" in line


def test_all_images_are_learnt_from_and_shown(vitseg, unsplit, data, tmp_path):
    assert training_split(f"folder:{unsplit}") == "all"
    assert training_split(f"folder:{data}") == "train"
    sheet = tmp_path / "sheet.png"
    assert vitseg("data", "preview", f"folder:{unsplit}", "--out", sheet).code == 0
    assert sheet.is_file()


@pytest.mark.parametrize("names", [(), ("training", "validation")])
def test_an_extension_finds_what_to_learn_from(vitseg, tmp_path, names):
    """Of data without splits all images, and nothing is held out; splits may have other usual names."""
    root, base = write_dataset(tmp_path / "data"), tmp_path / "base"
    for split, name in zip(("train", "val"), names or (None, None), strict=True):
        ids = (root / f"{split}.txt").read_text()
        (root / f"{split}.txt").unlink()
        if name:
            (root / f"{name}.txt").write_text(ids)
    save_model(base, make_model(2), make_record(2))
    short = ("training.iterations=1", "training.batch_size=2", "--device", "cpu")
    done = vitseg("extend", base, *short, "--data", f"folder:{root}", "--out", tmp_path / "out")
    assert done.code == 0, done
    held_out = json.loads((tmp_path / "out" / "result.json").read_text())["held_out"]
    assert (held_out or {}).get("split") == (names[1] if names else None)
