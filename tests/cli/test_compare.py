"""`vitseg compare`, end to end on a tiny data set."""

from __future__ import annotations

import csv
import json
import os
import signal

import pytest
import yaml

from tests.tiny import content, tiny_recipe
from vitseg.checkpoint.model_dir import load_model

pytestmark = pytest.mark.slow


def write(path, method="segvit", **decoder):
    raw = tiny_recipe(iterations=2, val_interval=2)
    raw |= {"method": method, "decoder": {"num_layers": 1, **decoder}}
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture
def recipes(tmp_path):
    return [write(tmp_path / "one.yaml"), write(tmp_path / "two.yaml", num_layers=2)]


def rows_of(out) -> list[dict[str, str]]:
    with (out / "compare.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_heads_are_compared_and_kept(vitseg, recipes, data, tmp_path, monkeypatch):
    out, source = tmp_path / "out", f"folder:{data}"
    command = ("compare", *recipes, "--data", source, "--out", out)
    result = vitseg(*command)
    assert result.code == 0, result.err
    assert "1 of 2: one" in result.err
    assert "page: " in result.out
    first, second = rows_of(out)
    assert (first["name"], second["name"]) == ("one", "two")
    assert first["time_ratio"] == "1.0"
    assert float(second["head_params_m"]) > float(first["head_params_m"]) > 0
    assert float(second["head_gmacs"]) > float(first["head_gmacs"]) > 0
    assert float(first["params_m"]) - float(first["head_params_m"]) == pytest.approx(
        float(second["params_m"]) - float(second["head_params_m"])
    )  # the backbone's
    content_of = json.loads((out / "compare.json").read_text())
    assert content_of["threads"] == 1
    for row, line in zip(content_of["rows"], rows_of(out), strict=True):
        final = row["result"]["final"]
        assert float(line["miou"]) == pytest.approx(final["miou"])
        assert {"recipe", "seed", "iterations", "training_minutes"} <= row["result"].keys()
        assert {"content_hash", "versions", "device", "commit"} <= final.keys()
        assert row["result"]["recipe"]["data"]["source"] == "folder"  # no path of this machine
    page = (out / "compare.html").read_text()
    assert page.count("<circle") == 2
    load_model(out / "runs" / "two")

    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("vitseg.studies.continued.train", fail)
    before = content(out / "runs")
    assert vitseg(*command).code == 0
    assert content(out / "runs") == before
    changed = vitseg(*command, "optimizer.lr=5e-3")
    assert changed.code == 2
    assert "runs/one holds a run of another recipe (optimizer.lr changed)" in changed.err
    assert content(out / "runs") == before


def test_a_training_that_fails_is_reported_and_the_others_go_on(
    vitseg, recipes, data, tmp_path, monkeypatch
):
    from vitseg.studies import continued
    from vitseg.training.loop import train

    def sometimes(recipe, out, *rest):
        if out.name == "one":
            raise RuntimeError("out of\nluck")
        return train(recipe, out, *rest)

    monkeypatch.setattr(continued, "train", sometimes)
    out = tmp_path / "out"
    result = vitseg("compare", *recipes, "--data", f"folder:{data}", "--out", out)
    assert result.code == 2
    assert "one failed: RuntimeError: out of luck" in result.err
    assert "failed: one; see compare.json" in result.err
    first, second = rows_of(out)
    assert first["error"] == "RuntimeError: out of luck"
    assert first["miou"] == first["gmacs"] == ""
    assert float(second["gmacs"]) > 0
    assert second["time_ratio"] == "1.0"
    assert "out of luck" in (out / "compare.html").read_text()


def test_a_training_of_several_processes_that_fails_ends_the_comparison(
    on_two_devices, recipes, data, tmp_path
):
    lost = tmp_path / "lost.yaml"
    raw = yaml.safe_load(recipes[0].read_text())
    lost.write_text(yaml.safe_dump({**raw, "optimizer": {**raw.get("optimizer", {}), "lr": 1e30}}))
    out = tmp_path / "out"
    result = on_two_devices(
        "compare", lost, recipes[0], "--iterations", 9, "--data", f"folder:{data}", "--out", out
    )
    assert result.returncode == 2, result.stderr
    assert "lost failed: " in result.stderr
    assert "With several processes this ends the comparison" in result.stderr
    assert not (out / "runs" / "one").exists()


def test_backbones_are_compared_on_kept_features(vitseg, recipes, data, tmp_path):
    out = tmp_path / "out"
    fixed = "data.augment={views: grid, crop_size: [64, 64]}"
    result = vitseg(
        "compare", *recipes, "training.freeze_backbone=true", fixed, "--iterations", 3,
        "--backbone", "test_vit", "--backbone", "test_vit2", "--data", f"folder:{data}", "--out", out,
        "--cache-features", tmp_path / "features",
    )  # fmt: skip
    assert result.code == 0, result.err
    names = [row["name"] for row in rows_of(out)]
    assert names == ["one--test_vit", "one--test_vit2", "two--test_vit", "two--test_vit2"]
    assert [row["feature_minutes"] for row in rows_of(out)] == ["0.0"] * 4
    caches = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "features").iterdir())
    assert caches == ["test_vit", "test_vit2"]  # one for both heads
    assert result.err.count("computing the features of 16 views") == 2
    state = json.loads((out / "runs" / "one--test_vit2" / "result.json").read_text())
    assert state["iterations"] == 3


def test_a_run_that_was_stopped_goes_on(vitseg, recipes, data, tmp_path, monkeypatch):
    from vitseg.training import loop

    save, saved = loop.StateWriter.save, []

    def stop(*arguments):
        save(*arguments)
        saved.append(None)
        if len(saved) == 1:  # a second signal would end the tests
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StateWriter, "save", stop)
    out = tmp_path / "out"
    command = (
        "compare", recipes[0], "training.save_interval=1", "--iterations", 4, "--data", f"folder:{data}", "--out", out,
    )  # fmt: skip
    result = vitseg(*command)
    assert result.code == 128 + signal.SIGTERM
    assert "Finished trainings are kept: run the same command again." in result.err
    run = out / "runs" / "one"
    assert (run / "state.ckpt").is_file()
    assert not (run / "result.json").exists()
    assert not (out / "compare.csv").exists()
    monkeypatch.undo()

    kept = loop.SavedState
    resumed = []
    monkeypatch.setattr(loop, "SavedState", lambda *args: resumed.append(kept(*args)) or resumed[0])
    assert vitseg(*command).code == 0
    assert len(resumed) == 1
    assert rows_of(out)[0]["miou"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimizer.lr=1", "--data", "folder:x"), "no recipe came, only overrides"),
        (("scenes/segvit-test_vit",), "pass --data NAME:ROOT"),
        (("scenes/none", "--data", "folder:x"), "not a known shipped recipe"),
        (
            ("scenes/segvit-test_vit", "--data", "DATA", "--cache-features", "features"),
            '"data.augment={views: grid, crop_size: [128, 128]}"',
        ),
        (
            ("scenes/segvit-test_vit", "--data", "DATA", "--backbone", "vit_tinny"),
            "not a known timm ViT",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_training(
    refused, data, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    arguments = [f"folder:{data}" if each == "DATA" else each for each in arguments]
    assert words in refused("compare", *arguments, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [data]
