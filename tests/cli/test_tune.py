"""`vitseg tune`, end to end on a tiny data set."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitseg as package
from tests.tiny import content, make_record
from tests.tiny_dtop import write_dtop
from vitseg.backbones.steps.exit import pruning_of, set_pruning
from vitseg.checkpoint.model_dir import read_record, save_model
from vitseg.methods.setr import SetrConfig
from vitseg.studies.tune import tune as tuning_module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of method dtop; not to be changed."""
    recipe = {"data": {"merge": None}, "method": "dtop"}
    metrics = {"converted_from": "x.pth", "miou": 0.1}
    folder = tmp_path_factory.mktemp("models") / "dtop"
    return write_dtop(folder, {"recipe": recipe, "metrics": metrics, "license": "mit"})


@pytest.fixture(autouse=True)
def _one_image(monkeypatch):
    """Times and multiply-adds of one image: counting is slow where shapes are checked."""
    monkeypatch.setattr(tuning_module, "TIMED_IMAGES", 1)


@pytest.fixture
def seconds(monkeypatch):
    """Gives settings times, by their places in the table."""

    def give(*times):
        def timed(runs, rounds, warmups):
            return {number: times[min(number, len(times) - 1)] for number in runs}

        monkeypatch.setattr(tuning_module, "alternating_medians", timed)

    return give


def test_the_best_threshold_becomes_a_model(vitseg, trained, data, tmp_path, seconds):
    seconds(1.0, 0.9, 0.8, 0.7, 0.95)  # unpruned; exit 0, exit 1, both; plain ways
    out, before = tmp_path / "out", content(trained)
    result = vitseg(
        "tune", trained, "--data", f"folder:{data}", "--out", out, "--thresholds", "0.5,1", "--max-loss", 100,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert not result.messages
    words = "pruning pays here: threshold 0.5 at exits 0+1 (0.70 of the unpruned time"
    assert words in result.out
    assert content(trained) == before
    record = read_record(out)
    assert record.architecture["pruning"]["threshold"] == 0.5
    assert record.architecture["pruning"]["exits"] == [0, 1]
    assert record.license == "mit"
    assert record.metrics["converted_from"] == "x.pth"
    assert record.metrics["tuned"]["time_ratio"] == 0.7

    tuned, original = package.load(out, "cpu"), package.load(trained, "cpu")
    vit = original.model.backbone
    set_pruning(vit, pruning_of(vit).config.model_copy(update={"threshold": 0.5}))
    image = data / "images" / "val_0.png"
    assert (tuned(image).label_map == original(image).label_map).all()

    values = json.loads((out / "tune.json").read_text())
    assert values["pays"] is True
    assert values["best"] == "threshold 0.5 at exits 0+1"
    assert values["timing"] == {"images": 1, "rounds": 3, "warmups": 1}
    assert {"content_hash", "versions", "device", "threads", "weights_sha256"} <= values.keys()
    row = values["rows"][3]
    assert (row["exits"], row["blocks"], row["time_ratio"]) == ([0, 1], [1, 3], 0.7)
    assert row["miou"] == record.metrics["miou"]
    with (out / "tune.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [row["name"] for row in values["rows"]]
    assert lines[3]["exits"] == "0+1"
    assert float(lines[3]["alive_1"]) == row["alive"][1] < 1
    page = (out / "tune.html").read_text()
    assert page.count("<polyline") == 3
    assert "http" not in page

    scores = tmp_path / "scores.json"
    assert vitseg("evaluate", out, "--data", f"folder:{data}", "--json", scores).code == 0
    assert json.loads(scores.read_text())["miou"] == pytest.approx(row["miou"])


@pytest.mark.slow
@pytest.mark.parametrize(("best", "field"), [(2, "scales"), (5, "patch_size")])
def test_a_plain_way_that_is_faster_becomes_the_model(
    vitseg, trained, data, tmp_path, seconds, best, field
):
    times = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95]  # unpruned; threshold 0.99999; inputs; patches
    times[best] = 0.5
    seconds(*times)
    out = tmp_path / "out"
    result = vitseg(
        "tune", write_one_exit(tmp_path), "--data", f"folder:{data}", "--out", out, "--thresholds", "0.99999",
        "--max-loss", 100, "--limit", 1,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "pruning does not pay here: " in result.out
    assert (
        "is better; the best pruned setting within 100 points of mIoU is threshold 0.99999"
        in result.out
    )
    record = read_record(out)
    assert record.architecture["pruning"]["threshold"] == 1
    values = json.loads((out / "tune.json").read_text())
    assert values["images"] == 1
    assert values["pays"] is False
    if field == "scales":
        assert record.inference["scales"] == [0.875]
    else:
        assert record.architecture["backbone"]["patch_size"] == 20
    predictor = package.load(out, "cpu")
    labels = predictor(data / "images" / "val_0.png").label_map
    truth = np.array(Image.open(data / "masks" / "val_0.png"))
    assert labels.shape == truth.shape


def write_one_exit(tmp_path):
    backbone = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}
    return write_dtop(tmp_path / "model", backbone=backbone)


def test_where_nothing_gains_there_is_a_report_alone(vitseg, data, tmp_path, seconds):
    seconds(1.0, 0.98, 1.1)
    out = tmp_path / "out"
    out.mkdir()
    result = vitseg(
        "tune", write_one_exit(tmp_path), "--data", f"folder:{data}", "--out", out, "--thresholds", "0.99999",
        "--max-loss", 100, "--limit", 1,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "pruning does not pay here: nothing within 100 points of mIoU takes 0.97" in result.out
    assert sorted(path.name for path in out.iterdir()) == ["tune.csv", "tune.html", "tune.json"]


@pytest.mark.slow
def test_measurements_outlive_a_model_that_cannot_be_saved(
    vitseg, data, tmp_path, seconds, monkeypatch
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    seconds(1.0, 0.5, 1.1)
    command = (
        "tune", write_one_exit(tmp_path), "--data", f"folder:{data}", "--out", ".", "--thresholds", "0.99999",
        "--max-loss", 100, "--limit", 1,
    )  # fmt: skip
    reports = ["tune.csv", "tune.html", "tune.json"]
    for name in ("full", "room"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "full":
            with monkeypatch.context() as patched:
                patched.setattr("vitseg.checkpoint.model_dir.save_file", full)
                result = vitseg(*command)
            assert result.code == 2
            assert "No space left on device" in result.messages[-1]
            assert sorted(path.name for path in Path().iterdir()) == reports
        else:
            assert vitseg(*command).code == 0
            assert {path.name for path in Path().iterdir()} > {*reports}
            assert read_record(Path()).metrics["tuned"]["time_ratio"] == 0.5


def write_setr(path, **decoder):
    backbone = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}
    config = SetrConfig.model_validate({"backbone": backbone, "decoder": decoder})
    record = make_record(method="setr", architecture=config.model_dump(mode="json"))
    save_model(path, config.build(3, (64, 64)), record)
    return path


@pytest.mark.slow
def test_a_setr_with_auxiliary_heads_is_pruned_as_it_is(vitseg, data, tmp_path, seconds):
    seconds(1.0, 0.5, 1.0)
    model = write_setr(tmp_path / "setr", kind="naive", auxiliary=[1])
    out = tmp_path / "out"
    result = vitseg(
        "tune", model, "--data", f"folder:{data}", "--out", out, "--thresholds", "0.4", "--max-loss", 100, "--limit", 1,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert read_record(out).method == "dtop"
    package.load(out, "cpu")(data / "images" / "val_0.png")


def test_other_setr_heads_are_refused(refused, data, tmp_path):
    model = write_setr(tmp_path / "setr", kind="pup", auxiliary=[1])
    line = refused("tune", model, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert "setr cannot be pruned: decoder.kind pup" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--thresholds", "0.5,1.5"), "'1.5' is no confidence above 0 and up to 1"),
        (("--thresholds", "0"), "'0' is no confidence"),
        (("--thresholds", "0.5,"), "'' is no confidence"),
        (("--thresholds", "nan"), "'nan' is no confidence"),
        (("--thresholds", "high"), "'high' is no confidence"),
        (("--max-loss", "-1"), "--max-loss -1 is no loss in points of mIoU"),
        (("--max-loss", "nan"), "--max-loss nan is no loss"),
        (("--device", "toaster"), "device 'toaster' cannot be used"),
        (("--split", "none"), "none"),
    ],
)
def test_mistakes_are_named_before_any_work(refused, trained, data, tmp_path, arguments, words):
    out = tmp_path / "out"
    line = refused("tune", trained, "--data", f"folder:{data}", "--out", out, *arguments)
    assert words in line
    assert not out.exists()


def test_a_folder_with_something_in_it_is_left_alone(refused, trained, data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for out, words in (
        (tmp_path / "out", "is not empty (notes.txt): give another folder"),
        (tmp_path / "out" / "notes.txt", "is a file: give a folder"),
    ):
        line = refused("tune", trained, "--data", f"folder:{data}", "--out", out)
        assert f"--out {out} {words}" in line
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_models_without_heads_that_judge_tokens_are_refused(refused, model, data, tmp_path):
    line = refused("tune", model, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert "is a segvit, which has no heads that judge tokens" in line
    assert "method dtop" in line
    assert "decoder.auxiliary" in line


def test_a_symmetric_rule_has_nothing_to_tune(refused, data, tmp_path):
    backbone = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}
    model = write_dtop(tmp_path / "model", backbone=backbone, pruning={"rule": "average_pool"})
    line = refused("tune", model, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert "pruning.rule average_pool has no threshold: there is nothing to tune" in line
