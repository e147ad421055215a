"""`vitseg continual`, end to end on a tiny data set."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.tiny import content, tiny_recipe
from vitseg.checkpoint.model_dir import load_model
from vitseg.files import write_json
from vitseg.runs import write_recipe
from vitseg.studies.continual import run
from vitseg.studies.continual.approaches import Approach, Step
from vitseg.studies.continual.recipe import load_continual


def write(path, approach, split="1-1", **fields):
    raw = tiny_recipe(iterations=3, val_interval=3, save_interval=1)
    if approach == "segvit_cl":
        raw["decoder"]["classifier"] = "presence"
    else:
        raw |= {"method": "linear", "decoder": {}}
    raw["step"] = {"training": {"iterations": 2}}
    raw["continual"] = {"split": split, "approach": approach, **fields}
    path.write_text(yaml.safe_dump(raw))
    return path


def rows_of(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def model_folders(out):
    """Where the models of a run's steps are."""
    steps = sorted(out.glob("step_*"))
    told = (json.loads((step / "scores.json").read_text()) for step in steps)
    return [step / scores["model"] for step, scores in zip(steps, told, strict=True)]


def weights(run):
    return load_file(run / "model" / "last" / "model.safetensors")


@pytest.fixture
def source(data):
    return f"folder:{data}"


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["finetune", "linear_rows", "mib", "plop"])
def test_all_steps_of_a_baseline_and_its_oracle(vitseg, source, tmp_path, monkeypatch, approach):
    recipe, out = write(tmp_path / "r.yaml", approach), tmp_path / "out"
    oracle = vitseg(
        "continual", recipe, "continual.approach=joint", "--data", source, "--out", tmp_path / "joint"
    )  # fmt: skip
    assert oracle.code == 0, oracle.err
    command = ("continual", recipe, "--data", source, "--out", out, "--beside", tmp_path / "joint")
    result = vitseg(*command)
    assert result.code == 0, result.err
    assert "step 2 (3 of 3): 1 class" in result.err
    found = json.loads((out / "continual.json").read_text())
    assert [step["classes"] for step in found["steps"]] == [["sky"], ["road"], ["tree"]]
    assert list(found["steps"][2]["iou"]) == ["sky", "road", "tree"]  # no background in the data
    assert load_model(out / "step_2" / "model")[1].classes.names == (
        "background",
        "sky",
        "road",
        "tree",
    )
    assert len(found["base_curve"]) == len(found["training_minutes"]) == 3
    assert found["scores"]["old"] == found["steps"][2]["iou"]["sky"]
    last = found["steps"][2]
    assert {"recipe", "seed", "iterations", "image_ids_hash", "training_minutes"} <= last.keys()
    assert {"content_hash", "versions", "commit", "device", "minutes"} <= last["evaluation"].keys()
    assert last["iterations"] == 2
    assert last["recipe"]["data"]["source"] == "folder"  # no path of this machine
    line, joint = rows_of(out / "scores.csv")
    assert (line["approach"], joint["approach"]) == (approach, "joint")
    assert float(line["all_reduction"]) == pytest.approx(float(joint["all"]) - float(line["all"]))
    assert [row["task"] for row in rows_of(out / "forgetting.csv")] == [
        "step 0", "step 1", "step 2", "mean of later",
    ]  # fmt: skip
    page = (out / "continual.html").read_text()
    assert page.count("<circle") == 3
    assert page.count("<polyline") == 2
    assert (out / "step_1" / "thresholds.json").exists() == (approach == "plop")

    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("vitseg.studies.continued.train", fail)
    before = content(out)
    assert vitseg(*command).code == 2  # without --resume
    assert content(out) == before
    assert vitseg(*command, "--resume").code == 0
    assert content(out) == before


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(vitseg, source, tmp_path, monkeypatch):
    from vitseg.training import loop

    recipe = write(tmp_path / "r.yaml", "mib")
    longer = "step.training.iterations=3"  # so that a signal after the first does not find the last
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert vitseg("continual", recipe, longer, "--data", source, "--out", whole).code == 0
    save, saved = loop.StateWriter.save, []

    def stop(*arguments):
        save(*arguments)
        saved.append(None)
        if len(saved) == 4:  # the first iteration of step 1
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StateWriter, "save", stop)
    command = ("continual", recipe, longer, "--data", source, "--out", out)
    result = vitseg(*command)
    assert result.code == 128 + signal.SIGTERM, result.err
    assert (out / "step_0" / "scores.json").is_file()
    assert not (out / "step_1" / "scores.json").exists()
    changed = vitseg(*command, "step.training.iterations=9", "--resume")
    assert changed.code == 2
    assert "another recipe (step.training.iterations changed)" in changed.err
    assert vitseg(*command, "--resume").code == 0
    ours, theirs = (json.loads((run / "continual.json").read_text()) for run in (out, whole))
    assert [step["iou"] for step in ours["steps"]] == [step["iou"] for step in theirs["steps"]]
    for number in range(3):
        for name, value in weights(whole / f"step_{number}").items():
            assert value.equal(weights(out / f"step_{number}")[name]), (number, name)


@pytest.mark.slow
def test_segvit_with_a_background_on_a_given_first_step(vitseg, source, tmp_path):
    """SegViT-CL, whose later steps leave every parameter of the first one as it is."""
    recipe = write(tmp_path / "r.yaml", "segvit_cl", background="sky", score_background=True)
    out, again = tmp_path / "out", tmp_path / "again"
    result = vitseg("continual", recipe, "--data", source, "--out", out)
    assert result.code == 0, result.err
    found = json.loads((out / "continual.json").read_text())
    assert found["tasks"] == [["sky", "road"], ["tree"]]
    assert list(found["steps"][1]["iou"]) == ["sky", "road", "tree"]
    first, second = (load_model(folder) for folder in model_folders(out))
    assert [task.classes for task in second[1].tasks] == [("road",), ("tree",)]
    kept = second[0].state_dict()
    for name, value in first[0].state_dict().items():
        assert value.equal(kept[name.replace("decoder.", "decoder.tasks.0.")]), name
    first = vitseg("continual", recipe, "--data", source, "--out", again, "--first-of", out)
    assert first.code == 0, first.err
    assert weights(again / "step_0").keys() == weights(out / "step_0").keys()
    assert "scoring 2 images" in first.err
    other = vitseg(
        "continual", recipe, "optimizer.lr=1e-4", "--data", source, "--out", tmp_path / "other", "--first-of", out
    )  # fmt: skip
    assert other.code == 2
    assert "began with another first step: recipe.optimizer.lr differ" in other.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "approach", [pytest.param("finetune", marks=pytest.mark.long), "segvit_cl"]
)
def test_two_processes(on_two_devices, source, tmp_path, approach):
    recipe, out = write(tmp_path / "r.yaml", approach), tmp_path / "out"
    for resume in ([], ["--resume"]):
        ended = on_two_devices("continual", recipe, "--data", source, "--out", out, *resume)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.count("step 1 (2 of 3)") == 1
        assert ended.stdout.count("page: ") == 1
    assert len(model_folders(out)) == 3


def test_several_starts_are_refused(alone, refused, source, tmp_path, monkeypatch):
    recipe = write(tmp_path / "r.yaml", "finetune")
    for name, value in {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    line = refused("continual", recipe, "--data", source, "--out", tmp_path / "o")
    assert "was started 2 times (SLURM), and each would do all of it" in line
    assert "was started 2 times (SLURM)" in refused("demo", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_further_process_finds_the_run_that_the_first_has_begun(
    alone, source, tmp_path, monkeypatch
):
    """It is not refused for what the first one has written, writes nothing itself, and waits for the scores."""
    out, trained = tmp_path / "out", []
    loaded = load_continual(write(tmp_path / "r.yaml", "finetune"), [], source)
    write_recipe(out, loaded.to_mapping())

    def train(step: Step) -> Path:
        trained.append(step.number)
        content = {"model": "model", "iou": {}}
        write_json(step.folder / "scores.json", content)  # as the first one does
        return step.out

    for name, value in {"VITSEG_PROCESSES": "1 2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run, "train_first", train)
    monkeypatch.setitem(run.APPROACHES, "finetune", Approach(train))
    monkeypatch.setattr(run._Run, "result", lambda self, history: history)
    monkeypatch.setattr(run._Run, "summary", lambda self, history: "")
    history = run.run_continual(loaded, out)
    assert trained == [0, 1, 2]
    assert history == 3 * [{"model": "model", "iou": {}}]
    written = {path.name for path in out.iterdir()}
    assert written == {"recipe.yaml", "step_0", "step_1", "step_2"}


def test_wrong_input(refused, source, data, tmp_path):
    recipe, out = write(tmp_path / "r.yaml", "finetune"), tmp_path / "out"
    assert "no data set" in refused("continual", recipe, "--out", out)
    assert "2 are left" in refused(
        "continual", recipe, "continual.split=1-3", "--data", source, "--out", out
    )
    assert not out.exists()
    assert "continual.json" in refused(
        "continual", recipe, "--data", source, "--out", tmp_path / "out3", "--beside", data
    )
    assert "no run to go on with" in refused(
        "continual", recipe, "--data", source, "--out", tmp_path / "out3", "--resume"
    )
