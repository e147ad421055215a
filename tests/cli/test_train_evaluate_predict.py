"""The whole way on a tiny data set of one's own, through the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import vitseg as package
from tests.checkpoint.test_convert import published_name
from tests.tiny import COLORS, NAMES, content, photo, write_dataset, write_recipe
from vitseg.backbones import BackboneConfig
from vitseg.decoders.atm import AtmConfig
from vitseg.methods.segvit import SegVitConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("own") / "data")


@pytest.fixture
def trained(vitseg, root, tmp_path):
    """A run of four iterations, and what the command said."""
    recipe = write_recipe(tmp_path / "tiny.yaml", val_interval=2)
    out = tmp_path / "run"
    result = vitseg("train", recipe, "optimizer.lr=2e-3", "--data", f"folder:{root}", "--out", out)
    assert result.code == 0, result
    return out, result


def test_train_evaluate_predict(vitseg, root, tmp_path, trained):
    run, result = trained
    assert result.messages == [f"best model: {run / 'best'}"]
    names = {path.name for path in run.iterdir()}
    kept = {"best", "last", "recipe.yaml", "train.csv", "val.csv", "tensorboard", "state.ckpt"}
    assert names == kept | {"result.json"}
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["optimizer"]["lr"] == 2e-3
    assert recipe["data"]["source"] == f"folder:{root}"
    with (run / "val.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["2", "4"]
    assert json.loads((run / "result.json").read_text())["iterations"] == 4

    report = tmp_path / "scores.json"
    result = vitseg("evaluate", run, "--data", f"folder:{root}", "--json", report)
    assert result.code == 0
    assert all(name in result.out for name in (*NAMES, "IoU", "aAcc"))
    scores = json.loads(report.read_text())
    assert {"miou", "macc", "aacc", "per_class"} <= scores.keys()
    assert set(scores["per_class"]) == set(NAMES)
    best = json.loads((run / "best" / "config.json").read_text())["metrics"]
    assert scores["miou"] == pytest.approx(best["miou"])

    out = tmp_path / "predictions"
    result = vitseg("predict", run, root / "images", "--out", out)
    assert result.code == 0
    assert result.out.strip() == f"6 of 6 images -> {out}"
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    predictor = package.load(run, "cpu")
    for line in lines:
        with Image.open(out / line["mask"]) as mask:
            assert mask.getpalette()[:9] == [value for color in COLORS for value in color]
            labels = np.array(mask)
        np.testing.assert_array_equal(labels, predictor(line["image"]).label_map)
        assert (line["height"], line["width"]) == labels.shape == (64, 80)
        assert sum(line["areas"].values()) == pytest.approx(1, abs=1e-4)
        with Image.open(out / line["overlay"]) as overlay:
            assert overlay.width >= 80
            assert overlay.height > 64


def test_joined_classes_are_joined_again_in_evaluation(vitseg, root, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    joined = "data.merge={ground: [road, tree]}"
    source = ("--data", f"folder:{root}")
    result = vitseg("train", recipe, joined, *source, "--out", tmp_path / "run")
    assert result.code == 0, result
    result = vitseg("evaluate", tmp_path / "run", *source, "--json", tmp_path / "scores.json")
    assert result.code == 0, result
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["per_class"]) == ["sky", "ground"]
    assert scores["per_class"]["ground"]["pixels"] > 0


def test_rare_classes_can_be_favoured_in_every_way(vitseg, root, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    favour = ["class_weights=effective", "rare_class_crops=0.5", "repeat_threshold=0.9"]
    overrides = [f"data.balance.{each}" for each in favour]
    out = tmp_path / "run"
    result = vitseg("train", recipe, *overrides, "--data", f"folder:{root}", "--out", out)
    assert result.code == 0, result
    kept = yaml.safe_load((out / "recipe.yaml").read_text())["data"]["balance"]
    assert kept["repeat_threshold"] == 0.9

    plain = write_recipe(tmp_path / "plain.yaml", iterations=2, val_interval=2)
    result = vitseg("train", plain, "--data", f"folder:{root}", "--out", tmp_path / "plain")
    losses = []
    for run in (out, tmp_path / "plain"):
        with (run / "train.csv").open() as file:
            losses.append(float(next(csv.DictReader(file))["loss"]))
    assert losses[0] != losses[1]


def test_a_recipe_names_its_data_set(vitseg, root, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    source = f"data.source=folder:{root}"
    assert vitseg("train", recipe, source, "--out", tmp_path / "run").code == 0
    (line,) = vitseg("train", recipe, "--out", tmp_path / "other").messages
    assert "pass --data NAME:ROOT" in line


def test_predict_takes_files_folders_and_globs(vitseg, model, tmp_path):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "deep/a.png", ".hidden.png"):
        Image.fromarray(photo(20, 30)).save(photos / name)
    (photos / "notes.txt").write_text("no image")
    out = tmp_path / "folder"
    assert vitseg("predict", model, photos, "--out", out).code == 0
    masks = sorted(p.relative_to(out / "masks").as_posix() for p in (out / "masks").rglob("*.png"))
    assert masks == ["a.png", "b.png", "deep/a.png"]
    assert sorted(p.name for p in (out / "overlays").iterdir()) == ["a.jpg", "b.jpg", "deep"]
    out = tmp_path / "globs"
    result = vitseg("predict", model, f"{photos}/*.png", photos / "b.JPG", "--out", out)
    assert (result.code, result.out.strip()) == (0, f"2 of 2 images -> {out}")
    out = tmp_path / "recursive"
    result = vitseg("predict", model, f"{photos}/**/b.*", "--out", out)
    assert (result.code, result.out.strip()) == (0, f"1 of 1 images -> {out}")


def test_names_with_brackets_and_spaces_are_names(vitseg, model, tmp_path):
    path = tmp_path / "my [red] photo.png"
    Image.fromarray(photo(20, 30)).save(path)
    broken = tmp_path / "broken [bold].png"
    broken.write_text("no image")
    result = vitseg("predict", model, path, broken, "--out", tmp_path / "out")
    assert result.code == 2
    assert len(result.messages) == 1
    assert str(broken) in result.messages[0]
    assert (tmp_path / "out" / "masks" / "my [red] photo.png").is_file()


def test_two_inputs_of_one_stem_keep_their_suffixes(vitseg, model, tmp_path):
    for name in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(photo(20, 30)).save(tmp_path / name)
    out = tmp_path / "out"
    result = vitseg("predict", model, *(tmp_path / n for n in ("a.png", "a.bmp", "b.png")), "--out", out)  # fmt: skip
    assert result.code == 0
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["a.bmp.png", "a.png.png", "b.png"]


def test_two_inputs_of_one_name_are_refused(refused, model, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(photo(20, 30)).save(tmp_path / folder / "a.png")
    before = content(tmp_path)
    line = refused("predict", model, tmp_path / "x", tmp_path / "y", "--out", tmp_path / "out")
    assert str(tmp_path / "x" / "a.png") in line
    assert str(tmp_path / "y" / "a.png") in line
    assert content(tmp_path) == before


def test_an_input_named_twice_is_done_once(vitseg, model, tmp_path):
    Image.fromarray(photo(20, 30)).save(tmp_path / "a.png")
    result = vitseg("predict", model, tmp_path / "a.png", f"{tmp_path}/*.png", "--out", tmp_path / "out")  # fmt: skip
    assert result.out.startswith("1 of 1 images")


def test_a_broken_image_among_good_ones_is_reported_and_left_out(vitseg, model, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        Image.fromarray(photo(20, 30)).save(photos / name)
    (photos / "b.png").write_text("no image")
    out = tmp_path / "out"
    result = vitseg("predict", model, photos, "--out", out)
    assert result.code == 2
    assert result.out.strip() == f"2 of 3 images -> {out}"
    (message,) = result.messages
    assert message.startswith(f"DataError: {photos / 'b.png'} is not an image")
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [str(photos / f"{n}.png") for n in "abc"]
    assert message == f"DataError: {lines[1]['error']}"
    assert ["mask" in line for line in lines] == [True, False, True]
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["a.png", "c.png"]


def test_overwrite_replaces_predictions(vitseg, model, tmp_path):
    Image.fromarray(photo(20, 30)).save(tmp_path / "a.png")
    command = ("predict", model, tmp_path / "a.png", "--out", tmp_path / "out")
    assert vitseg(*command).code == 0
    (tmp_path / "out" / "masks" / "a.png").write_text("old")
    assert vitseg(*command, "--overwrite").code == 0
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (30, 20)


def test_convert_writes_a_model(vitseg, refused, tmp_path, root):
    backbone = BackboneConfig(
        name="vit_tiny_patch16_384", pretrained=False, taps=(5, 7, 11), prefix_tokens="drop"
    )
    config = SegVitConfig(backbone=backbone, decoder=AtmConfig(num_layers=1))
    source = config.build(3, (64, 64))
    state = {published_name(name): value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "segvit.pth")
    command = ("convert", tmp_path / "segvit.pth", "--classes", root / "classes.json")
    result = vitseg(*command, "--out", tmp_path / "model")
    assert result.code == 0
    assert "segvit on vit_tiny_patch16_384, 3 classes, crop 64" in result.out
    assert "licence" in result.out
    assert package.load(tmp_path / "model", "cpu").classes.names == NAMES
    before = content(tmp_path)
    line = refused(*command, "--out", tmp_path / "model")
    assert "exists already" in line
    assert content(tmp_path) == before


@pytest.mark.slow
def test_demo_runs_to_its_page(vitseg, tmp_path):
    out = tmp_path / "demo"
    short = ("training.iterations=2", "schedule.warmup_iterations=1", "data.num_workers=0")
    result = vitseg("demo", *short, "--out", out)
    assert result.code == 0, result.err
    assert result.out.strip().splitlines()[-1] == f"summary: {out / 'index.html'}"
    assert (out / "index.html").stat().st_size > 10_000
    assert len(list((out / "predictions").glob("*_overlay.png"))) == 4


def test_the_protocol_can_be_changed_for_one_run(vitseg, root, tmp_path, model):
    source = ("--data", f"folder:{root}", "--json", tmp_path / "scores.json")
    views = ("--set", "flip=true", "--set", "scales=[0.75,1.0]")
    assert vitseg("evaluate", model, *source, *views).code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["inference"]["flip"] is True
    assert scores["inference"]["scales"] == [0.75, 1.0]
    result = vitseg("predict", model, root / "images", "--out", tmp_path / "out", *views)
    assert result.code == 0
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    predictor = package.load(model, "cpu", ["flip=true", "scales=[0.75,1.0]"])
    with Image.open(tmp_path / "out" / line["mask"]) as mask:
        np.testing.assert_array_equal(np.array(mask), predictor(line["image"]).label_map)


def test_wrong_protocols_are_refused(refused, root, tmp_path, model):
    source = ("--data", f"folder:{root}")
    assert "Did you mean inference.flip?" in refused("evaluate", model, *source, "--set", "flop=1")
    assert "scales" in refused("evaluate", model, *source, "--set", "scales=[]")
    assert "is no override" in refused("evaluate", model, *source, "--set", "flip")


def test_report_of_an_evaluation(vitseg, root, tmp_path, model):
    report = tmp_path / "report"
    result = vitseg("evaluate", model, "--data", f"folder:{root}", "--report", report)
    assert result.code == 0, result
    assert str(report / "report.html") in result.out
    page = (report / "report.html").read_text()
    assert "val_0" in page
    assert "calibration error" in result.out  # a report asks for all measures
