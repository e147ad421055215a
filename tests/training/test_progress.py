"""What changes in a model over its training: EoMT's masks, which fade out by the iteration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_recipe, write_dataset
from vitseg.checkpoint.model_dir import load_model
from vitseg.methods.model import SegmentationModel
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, parse_recipe


class StopHereError(Exception):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("progress") / "data")


def recipe(root: Path) -> Recipe:
    raw: dict[str, Any] = tiny_recipe(iterations=6, val_interval=6, save_interval=3)
    raw |= {"method": "eomt", "decoder": {"num_queries": 6, "num_blocks": 2}}
    raw["backbone"] = {"name": "test_vit", "pretrained": False, "taps": [3], "tap_norm": True}
    raw["data"]["source"] = f"folder:{root}"
    return parse_recipe(raw)


def test_the_loop_says_how_far_it_is_and_a_resumed_run_is_the_same(root, tmp_path, monkeypatch):
    heard: list[float] = []
    original = SegmentationModel.set_progress

    def listen(model: SegmentationModel, fraction: float) -> None:
        heard.append(fraction)
        original(model, fraction)

    monkeypatch.setattr(SegmentationModel, "set_progress", listen)
    train(recipe(root), tmp_path / "whole")
    assert heard == pytest.approx([iteration / 6 for iteration in range(6)])

    def stop(model: SegmentationModel, fraction: float) -> None:
        if fraction >= 0.5:
            raise StopHereError
        original(model, fraction)

    monkeypatch.setattr(SegmentationModel, "set_progress", stop)
    with pytest.raises(StopHereError):
        train(recipe(root), tmp_path / "resumed")
    heard.clear()
    monkeypatch.setattr(SegmentationModel, "set_progress", listen)
    train(recipe(root), tmp_path / "resumed", resume=True)
    assert heard == pytest.approx([0.5, 4 / 6, 5 / 6])
    whole, resumed = (
        load_model(tmp_path / name / "last")[0].state_dict() for name in ("whole", "resumed")
    )
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=0, rtol=0, msg=name)
