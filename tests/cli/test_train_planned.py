"""`vitseg train` with data in place of a recipe."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.plan.test_split import unsplit
from tests.tiny import write_dataset
from vitseg.cli.places import is_data
from vitseg.data.listed_split import write_list

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
    assert recipe["method"] == "eomt"
    plan = json.loads((out / "plan" / "plan.json").read_text())
    assert plan["options"]["backbone"] == "test_vit"
    assert [each["name"] for each in plan["classes"]] == ["sky", "road", "tree"]

    again = tmp_path / "again"
    assert vitseg("train", out / "recipe.yaml", "--out", again).code == 0
    assert losses(again) == losses(out)
    assert same_weights(out, again)


def test_a_planned_run_goes_on_as_it_was_planned(vitseg, folder, tmp_path):
    out, whole = tmp_path / "run", tmp_path / "whole"
    spec = f"folder:{folder}"
    result = vitseg("train", spec, *QUICK, "--method", "linear", "--out", whole)
    assert result.code == 0, result
    assert "split at random (seed 0)" in result.out
    recipe = yaml.safe_load((whole / "recipe.yaml").read_text())
    assert recipe["data"]["val_split"] == str(whole / "plan" / "val.txt")

    # as one that was stopped after two iterations
    state = torch.load(whole / "state.ckpt")
    short = ("training.save_interval=2", "training.iterations=4")
    shutil.copytree(whole, out)
    for name in ("state.ckpt", "result.json"):
        (out / name).unlink()
    assert vitseg("train", spec, *QUICK, *short, "--out", tmp_path / "other").code == 0
    assert state["progress"]["iteration"] == 4
    line = vitseg("train", spec, "--out", out, "--resume").messages[-1]
    assert "has no state.ckpt to resume from" in line

    result = vitseg("train", spec, "--out", whole, "--resume", "--minutes", 7)
    assert "--minutes 7.0: the run in" in result.messages[-1]
    assert "chose its minutes" in result.messages[-1]
    result = vitseg("train", spec, "--out", whole, "--resume", "--method", "segvit")
    assert "was planned with --method linear" in result.messages[-1]
    result = vitseg("train", spec, "--out", whole, "--resume", "--method", "linear")
    assert result.code == 0, result
    assert "looking at the data" not in result.err


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
        ("folder:DATA --out o --weights w.safetensors --backbone vit_tiny_patch16_224", "does not fit"),
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


def test_offline_it_is_said_at_once(refused, root, tmp_path, monkeypatch):
    from vitseg.plan import vits

    monkeypatch.setattr(vits, "is_reachable", lambda: False)
    monkeypatch.setattr(vits.huggingface_hub, "try_to_load_from_cache", lambda *place: None)
    line = refused("train", f"folder:{root}", "--out", tmp_path / "run", "--minutes", 1)
    assert "Fetch model.safetensors of timm/vit_" in line
    assert "--weights FILE" in line
    assert not (tmp_path / "run").exists()


def rewritten(root, paint):
    """The masks anew, by a function of number and size."""
    for number, path in enumerate(sorted((root / "masks").rglob("*.png"))):
        with Image.open(path) as mask:
            size = mask.size[::-1]
        Image.fromarray(paint(number, size).astype(np.uint8)).save(path)


def pair(number, size):
    mask = np.zeros(size)
    mask[size[0] // 2 :] = 1
    return mask


def test_too_short_a_time_is_refused(vitseg, folder, tmp_path):
    quick = [each for each in QUICK if "iterations" not in each]
    result = vitseg("train", f"folder:{folder}", *quick, "--minutes", 0.01, "--out", tmp_path / "o")
    assert result.code == 2
    assert re.search(r"0\.01 minutes leave time for \d+ iterations.*--minutes \d+ or more", result.err)


def test_less_than_one_pass_is_said(vitseg, folder, tmp_path):
    few = [each.replace("iterations=4", "iterations=2") for each in QUICK]
    result = vitseg(
        "train", f"folder:{folder}", *few, "--method", "linear", "--out", tmp_path / "o"
    )
    assert result.code == 0
    assert "too short for one pass over the images: 80% of them are seen" in result.out


def test_two_images_are_enough_but_warned_of(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b"])
    result = vitseg(
        "train", f"folder:{root}", *QUICK, "--method", "linear", "--out", tmp_path / "o"
    )
    assert result.code == 0, result
    assert "note: only 1 image to validate on: the score says little" in result.out


def test_one_class_is_refused(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"], ("cell",))
    rewritten(root, lambda number, size: np.zeros(size))
    result = vitseg("train", f"folder:{root}", *QUICK, "--out", tmp_path / "o")
    assert result.code == 2
    assert "'cell' is the only class" in result.err


def test_masks_of_one_class_are_refused(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"])
    rewritten(root, lambda number, size: np.ones(size))
    result = vitseg("train", f"folder:{root}", *QUICK, "--out", tmp_path / "o")
    assert result.code == 2
    assert "all labelled pixels of the 2 training masks are road" in result.err


def test_no_masks_are_refused(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"])
    shutil.rmtree(root / "masks")
    result = vitseg("train", f"folder:{root}", *QUICK, "--out", tmp_path / "o")
    assert result.code == 2
    assert "masks is not a folder" in result.err


def test_a_class_of_three_pixels_and_few_masks_are_said(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(30)], ("sky", "road", "bird", "cat"))
    for number in range(3, 30):
        (root / "masks" / f"p{number}.png").unlink()

    def paint(number, size):
        mask = pair(number, size)
        mask[0, :3] = 2 if number < 3 else 0
        return mask

    rewritten(root, paint)
    result = vitseg(
        "train", f"folder:{root}", *QUICK, "--method", "linear", "--out", tmp_path / "o"
    )
    assert result.code == 0, result
    assert "note: 27 of 30 images have no mask and are left out" in result.out
    assert "note: too few pixels to learn bird (6) from" in result.out
    assert "'data.ignore=[bird]'" in result.out
    assert "note: no pixel of cat: the model will not know it." in result.out


def test_mixed_sizes_and_depths(vitseg, tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(6)])
    for number, path in enumerate(sorted((root / "images").glob("*.png"))):
        side = 32 + 32 * (number % 3)
        deep = np.random.default_rng(number).integers(0, 4000, (side, 48)).astype(np.uint16)
        Image.fromarray(deep if number % 2 else (deep >> 4).astype(np.uint8)).save(path)
        Image.fromarray(pair(number, (side, 48)).astype(np.uint8)).save(root / "masks" / path.name)
    out = tmp_path / "o"
    result = vitseg("train", f"folder:{root}", *QUICK, "--method", "linear", "--out", out)
    assert result.code == 0, result
    assert re.search(r"note: \d of \d images have more than 8 bits", result.out)
    assert "sizes from" in result.out
    assert yaml.safe_load((out / "recipe.yaml").read_text())["data"]["value_range"][1] < 4000
    assert (out / "recipe.yaml").read_text().startswith("# data:")


def test_folders_of_splits_are_taken(vitseg, root, tmp_path):
    nested = tmp_path / "nested"
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (nested / split / kind).mkdir(parents=True)
            for path in (root / kind).glob(f"{split}_*.png"):
                shutil.copy(path, nested / split / kind / path.name)
    shutil.copy(root / "classes.json", nested)
    out = tmp_path / "o"
    result = vitseg("train", f"folder:{nested}", *QUICK, "--method", "linear", "--out", out)
    assert result.code == 0, result
    assert "the splits train and val of the data set" in result.out
    assert not (out / "plan" / "train.txt").exists()


def test_two_scales_are_tried(vitseg, root, tmp_path):
    quick = [each for each in QUICK if "iterations" not in each and "interval" not in each]
    out = tmp_path / "o"
    options = ("--method", "linear", "--minutes", 0.6, "--out", out)
    result = vitseg("train", f"folder:{root}", *quick, *options)
    assert result.code == 0, result
    line = next(line for line in result.out.splitlines() if line.startswith("scale:"))
    assert re.search(r"a trial of \d+ iterations each gave .* mIoU at their own size and .* mIoU", line)
    trial = json.loads((out / "plan" / "plan.json").read_text())["trial"]
    assert set(trial["miou"]) == {"own", "resized"}
    assert not (out / "plan" / "trial").exists()
