"""Gradients that are accumulated: the same training in less memory, exact after a stop."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import ConfigError
from vitseg.methods.model import SegmentationModel
from vitseg.training.batches import micro_batches
from vitseg.training.loop import train
from vitseg.training.randomness import seed_step
from vitseg.training.recipe import Recipe, parse_recipe

METHODS: dict[str, dict[str, Any]] = {
    "segvit": {},
    "segmenter": {
        "method": "segmenter",
        "decoder": {"kind": "linear"},
        "backbone": {"name": "test_vit", "pretrained": False, "taps": [3], "tap_norm": True},
    },
}


class StopHereError(Exception):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("accumulation") / "data")


def recipe(root: Path, method: str = "segvit", drop_path: float = 0.0, **training) -> Recipe:
    raw = tiny_recipe(**{"iterations": 4, "batch_size": 4, "val_interval": 4, **training})
    raw |= METHODS[method]
    raw["data"]["source"] = f"folder:{root}"
    raw["backbone"] = {**raw["backbone"], "drop_path": drop_path}
    if method == "segvit":
        raw["decoder"] = {"num_layers": 1, "dropout": 0}
    return parse_recipe(raw)


def losses(run: Path) -> list[float]:
    with (run / "train.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "model.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_train_as_the_whole_batch_does(root, tmp_path, method, monkeypatch):
    monkeypatch.setattr("vitseg.training.loop.LOG_INTERVAL", 1)
    for accumulate in (1, 4):
        train(recipe(root, method, accumulate=accumulate), tmp_path / str(accumulate))
    whole = losses(tmp_path / "1")
    assert len(whole) == 4
    assert losses(tmp_path / "4") == pytest.approx(whole, rel=1e-5)


def test_a_resumed_run_has_the_same_bits(root, tmp_path, monkeypatch):
    chosen = recipe(root, drop_path=0.3, accumulate=2, save_interval=2, ema=0.9)
    train(chosen, tmp_path / "whole")
    original = SegmentationModel.set_progress

    def stop(model: SegmentationModel, fraction: float) -> None:
        if fraction >= 0.75:
            raise StopHereError
        original(model, fraction)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentationModel, "set_progress", stop)
        with pytest.raises(StopHereError):
            train(chosen, tmp_path / "stopped")
    assert torch.load(tmp_path / "stopped/state.ckpt")["progress"]["iteration"] == 2
    train(chosen, tmp_path / "stopped", resume=True)
    resumed, whole = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    for name, value in whole.items():
        assert resumed[name].equal(value), name


def test_a_run_may_go_on_in_other_parts(root, tmp_path, monkeypatch):
    def stop(model: SegmentationModel, fraction: float) -> None:
        if fraction >= 0.5:
            raise StopHereError

    with monkeypatch.context() as patched:
        patched.setattr(SegmentationModel, "set_progress", stop)
        with pytest.raises(StopHereError):
            train(recipe(root, save_interval=2), tmp_path / "run")
    train(recipe(root, save_interval=2, accumulate=4), tmp_path / "run", resume=True)


def test_each_micro_batch_draws_its_own_numbers():
    def drawn(*place: int) -> float:
        seed_step(*place)
        return torch.rand(()).item()

    places = [(0, 5, 0), (0, 5, 0, 1), (0, 5, 0, 2), (0, 5, 1), (0, 5, 1, 1), (0, 6, 0)]
    assert len({drawn(*place) for place in places}) == len(places)
    assert drawn(0, 5, 0) == drawn(0, 5, 0, 0)


def test_a_batch_is_cut_in_its_order():
    images, labels = torch.arange(6.0), torch.arange(6)
    parts = micro_batches(images, labels, 3)
    assert [part[1].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    maps = micro_batches([images, 10 * images], labels, 2)
    assert [each.tolist() for each in maps[1][0]] == [[3, 4, 5], [30, 40, 50]]


def test_a_batch_that_cannot_be_cut_is_refused(root):
    message = "batch_size 6 is not divisible by devices 2 x accumulate 2"
    with pytest.raises(ConfigError, match=message):
        recipe(root, batch_size=6, devices=2, accumulate=2)
