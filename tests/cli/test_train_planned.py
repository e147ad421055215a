"""`vitseg train` with data in place of a recipe."""

from __future__ import annotations

import csv
import json
import os
import re
import signal

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.data.band_sets import array, write_band_set
from tests.plan.test_split import unsplit
from tests.tiny import write_dataset
from vitseg.cli.places import is_data
from vitseg.data.listed_split import write_list
from vitseg.plan import pace
from vitseg.plan.heads import DEFAULT
from vitseg.training.display import Display

QUICK = (
    "--backbone", "test_vit", "backbone.pretrained=false", "training.iterations=4", "training.val_interval=2",
    "training.batch_size=2", "training.precision=32-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("own") / "data", num_train=5, num_val=2)


def losses(run):
    with (run / "train.csv").open() as file:
        return [(row["iteration"], row["loss"]) for row in csv.DictReader(file)]


def same_weights(one, other):
    first, second = (torch.load(each / "state.ckpt")["model"] for each in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pairs without a split."""
    return unsplit(tmp_path_factory.mktemp("own") / "data", [f"p{n}" for n in range(6)])


def test_from_a_folder_to_a_model_and_a_page(vitseg, root, tmp_path):
    out = tmp_path / "run"
    result = vitseg("train", f"folder:{root}", *QUICK, "--out", out)
    assert result.code == 0, result
    lines = result.out.splitlines()
    heads = ["data:", "model:", "scale:", "learning:", "time:"]
    assert [line.partition(" ")[0] for line in lines[:5]] == heads
    assert "5 images to train on and 2 to validate on, the splits train and val" in lines[0]
    assert "test_vit" in lines[1]
    assert "random weights, as asked for" in lines[1]
    assert "4 iterations of 2 crops" in lines[3]
    assert re.search(r"ends at about \d\d:\d\d\.$", lines[4])
    assert f"recipe: {out / 'recipe.yaml'}" in lines
    assert lines[-1] == f"report: {out / 'report' / 'report.html'}"
    assert (out / "report" / "report.html").stat().st_size > 10_000

    text = (out / "recipe.yaml").read_text()
    assert text.startswith("# data: 5 images")
    assert "# the backbone's" in text
    recipe = yaml.safe_load(text)
    assert recipe["training"]["iterations"] == 4
    assert recipe["method"] == DEFAULT
    plan = json.loads((out / "plan" / "plan.json").read_text())
    assert plan["options"]["backbone"] == "test_vit"
    assert [each["name"] for each in plan["classes"]] == ["sky", "road", "tree"]

    again = tmp_path / "again"
    assert vitseg("train", out / "recipe.yaml", "--out", again).code == 0
    assert losses(again) == losses(out)
    assert same_weights(out, again)


def test_a_planned_run_goes_on_as_it_was_planned(vitseg, folder, tmp_path, monkeypatch):
    out, spec, linear = tmp_path / "run", f"folder:{folder}", ("--method", "linear")
    step = Display.step

    def stopped_at_two(display, iteration, *facts):
        if iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(display, iteration, *facts)

    monkeypatch.setattr(Display, "step", stopped_at_two)
    result = vitseg("train", spec, *QUICK, *linear, "--out", out)
    assert result.code == 130, result
    assert "split at random (seed 0)" in result.out
    assert "Continue with --resume" in result.messages[-1]
    monkeypatch.undo()
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["data"]["val_split"] == str(out / "plan" / "val.txt")

    result = vitseg("train", spec, "--out", out, "--resume", "--minutes", 7)
    assert "--minutes 7.0: the run in" in result.messages[-1]
    assert "chose its minutes" in result.messages[-1]
    result = vitseg("train", spec, "--out", out, "--resume", "--method", "segvit")
    assert "was planned with --method linear" in result.messages[-1]

    monkeypatch.setattr("vitseg.plan.plan.make_plan", None)  # there is no second plan
    result = vitseg("train", spec, "--out", out, "--resume", *linear)
    assert result.code == 0, result
    assert result.out.splitlines()[-1] == f"report: {out / 'report' / 'report.html'}"
    whole = tmp_path / "whole"
    assert vitseg("train", out / "recipe.yaml", "--out", whole).code == 0
    assert same_weights(out, whole)


def test_a_run_by_a_recipe_is_not_resumed_as_a_planned_one(refused, vitseg, root, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "state.ckpt").write_bytes(b"")
    line = refused("train", f"folder:{root}", "--out", out, "--resume")
    assert "was begun with a recipe" in line


def test_a_list_of_images_is_a_split(vitseg, root, tmp_path):
    out = tmp_path / "run"
    lists = tmp_path / "mine.txt"
    write_list(lists, "train", ["train_0", "train_3"])
    split = ("data.train_split=val", f"data.val_split={lists}")
    result = vitseg("train", f"folder:{root}", *QUICK, *split, "--method", "linear", "--out", out)
    assert result.code == 0, result
    assert "2 images to train on and 2 to validate on" in result.out
    kept = json.loads((out / "best" / "config.json").read_text())
    assert kept["recipe"]["data"]["val_split"] == "mine.txt"
    result = vitseg("evaluate", out, "--data", f"folder:{root}", "--split", lists)
    assert result.code == 0, result
    assert "folder mine, 2 images" in result.out


def test_a_weight_file_is_recognised(vitseg, folder, tmp_path):
    import timm

    file = tmp_path / "mine.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), file)
    quick = [each for each in QUICK[2:] if not each.startswith("backbone")]
    out = tmp_path / "run"
    options = ("--weights", file, "--method", "segvit", "--out", out)
    result = vitseg("train", f"index:{folder}", *options, *quick)
    assert result.code == 0, result
    assert "from the weights of mine.safetensors" in result.out
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["backbone"]["weights"] == str(file)
    assert recipe["loss"]["ignored"] == "left_out"


ONE_OF_TWO = {"VITSEG_PROCESSES": "1 2", "LOCAL_RANK": "1"}
"""What a process finds that the first one of a training has started."""


def test_a_further_process_takes_the_plan_of_the_first(alone, vitseg, root, tmp_path, monkeypatch):
    out, trained = tmp_path / "run", []
    stub = lambda recipe, *_: trained.append((recipe, [*os.listdir(out)]))  # noqa: E731
    command = ("train", f"folder:{root}", *QUICK, "training.devices=2", "--out", out)
    monkeypatch.setattr("vitseg.training.loop.train", stub)
    monkeypatch.setattr("vitseg.cli.planned._report", lambda *_: "page")
    measured, real = [], pace.build_parts
    monkeypatch.setattr(
        pace, "build_parts", lambda recipe, *_: measured.append(recipe) or real(recipe, *_)
    )
    assert vitseg(*command).code == 0
    numbers = {(each.training.devices, each.training.batch_size) for each in measured}
    assert numbers == {(1, 1)}, "others would begin with a plan of their own"

    for name, value in ONE_OF_TWO.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("vitseg.plan.plan.make_plan", None)
    result = vitseg(*command)
    assert result.code == 0, result.err
    assert result.out == "", "the first one tells, and writes the page"
    (first, _), (second, held) = trained
    assert second.to_mapping() == first.to_mapping()
    assert {"recipe.yaml", "plan"} <= {*held}


@pytest.mark.parametrize("resume", [False, True])
def test_several_processes_do_not_plan_each_by_itself(
    alone, refused, root, tmp_path, monkeypatch, resume
):
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    options = ("--resume",) if resume else ()
    line = refused("train", f"folder:{root}", *QUICK, "--out", tmp_path / "o", *options)
    told = "has no state.ckpt" if resume else "was started 2 times (torchrun)"
    assert told in line
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_plan_for_two_devices(on_two_devices, root, tmp_path):
    out = tmp_path / "run"
    ended = on_two_devices("train", f"folder:{root}", *QUICK, "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("learning: 4 iterations") == 1
    assert (out / "report" / "report.html").is_file()


def test_what_is_a_data_set_and_what_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_data("folder:data")
    assert is_data("camvid:x.yaml")
    assert is_data("fodler:data")
    assert not is_data("camvid/segvit-vit_tiny")
    assert not is_data(r"C:\recipes\mine.yaml")
    assert not is_data("C:mine")
    assert not is_data("my:recipe.yaml")
    (tmp_path / "folder:data").write_text("method: segvit")
    assert not is_data("folder:data")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("folder:none --out o", "DataError: none is not a folder"),
        ("fodler:none --out o", "Did you mean 'folder'?"),
        ("folder:DATA --out full", "ConfigError: --out full is not empty"),
        ("folder:DATA --out o --method setr", "'setr' is not a known method of a training without a"),
        ("folder:DATA --out o --data folder:DATA", "without a recipe, the first argument is the"),
        ("folder:DATA --out o --cache-features c", "--cache-features belongs to a recipe"),
        ("folder:DATA data.source=folder:x --out o", "leave data.source out"),
        ("folder:DATA --out o --minutes 0", "--minutes 0: give the minutes"),
        ("folder:DATA --out o --weights none.pth", "weight file none.pth does not exist"),
        ("folder:DATA --out o --method linear method=segvit", "say two things: leave one out"),
        ("folder:DATA --out o --backbone vit_tinny", "'vit_tinny' is not a known timm ViT"),
        ("tiny.yaml --data folder:DATA --out o --minutes 3", "--minutes belongs to a training without"),
        ("tiny.yaml --data folder:DATA --out o --weights w.safetensors", "give backbone.weights=FILE"),
        ("C:tiny.yaml --data folder:DATA --out o", "no such file"),
    ],
)  # fmt: skip
def test_refusals(refused, root, tmp_path, monkeypatch, words, said):
    import timm

    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "tiny.yaml").write_text("method: segvit")
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), "w.safetensors")
    line = refused("train", *words.replace("DATA", str(root)).split())
    assert said in line
    assert not (tmp_path / "o").exists()


def test_weights_that_do_not_fit_are_refused_at_once(vitseg, root, tmp_path):
    import timm

    file = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), file)
    options = ("--weights", file, "--backbone", "vit_tiny_patch16_224", "--out", tmp_path / "o")
    result = vitseg("train", f"folder:{root}", *options)
    assert result.code == 2
    assert "w.safetensors does not fit" in result.err
    assert "looking at the data" not in result.err


def test_offline_it_is_said_at_once(refused, root, tmp_path, monkeypatch):
    from vitseg.plan import vits

    monkeypatch.setattr(vits, "is_reachable", lambda: False)
    monkeypatch.setattr(vits.huggingface_hub, "try_to_load_from_cache", lambda *place: None)
    line = refused("train", f"folder:{root}", "--out", tmp_path / "run", "--minutes", 1)
    assert "Fetch model.safetensors of timm/vit_" in line
    assert "--weights FILE" in line
    assert not (tmp_path / "run").exists()


def test_chosen_bands_are_measured_once_and_kept(vitseg, tmp_path):
    """Of a set with four bands of 16 bits: the plan, the training and the report read them alike."""
    root = write_band_set(tmp_path / "data", array)
    out = tmp_path / "run"
    result = vitseg("train", f"folder:{root}?bands=all", *QUICK, "--out", out)
    assert result.code == 0, result
    assert (result.out + result.err).count("measuring the bands") == 1
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert len(recipe["data"]["bands"]["chosen"]) == 4
    assert len(recipe["backbone"]["channels"]) == 4
