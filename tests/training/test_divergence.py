"""A training whose numbers grow without bound: told in one sentence, nothing spoilt, and its advice can be followed."""

from __future__ import annotations

import json

import pytest
import torch

from tests.tiny import write_dataset, write_recipe
from vitseg.errors import CheckpointError, ConfigError
from vitseg.training.loop import train
from vitseg.training.recipe import load_recipe

SAVED = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divergence")
    write_dataset(folder / "data")
    write_recipe(folder / "tiny.yaml", iterations=8, val_interval=8, save_interval=SAVED)
    return folder


def recipe(folder, *overrides):
    return load_recipe(folder / "tiny.yaml", overrides, f"folder:{folder / 'data'}")


def spoil(monkeypatch, at):
    """The gradients of one step become infinite, as those of a diverging model do."""
    steps = []
    real = torch.optim.AdamW.step

    def step(optimizer, *arguments, **options):
        steps.append(None)
        if len(steps) == at:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        weight.grad.fill_(float("inf"))
        return real(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.mark.parametrize("clip", ["35.0", "null"])
@pytest.mark.parametrize("lr", ["1e6", "1e30"])
def test_a_rate_that_is_far_too_high_ends_in_the_sentence(folder, tmp_path, clip, lr):
    chosen = recipe(folder, f"optimizer.lr={lr}", f"optimizer.clip_grad_norm={clip}")
    with pytest.raises(ConfigError, match=r"training diverged\. Lower optimizer\.lr"):
        train(chosen, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize("clip", ["35.0", "null"])
@pytest.mark.parametrize("at", [1, SAVED, SAVED + 1, 2 * SAVED, 8])
def test_weights_that_are_no_numbers_are_never_saved(folder, tmp_path, monkeypatch, clip, at):
    out = tmp_path / "out"
    spoil(monkeypatch, at)
    with pytest.raises(ConfigError, match=r"training diverged\. Lower optimizer\.lr") as told:
        train(recipe(folder, f"optimizer.clip_grad_norm={clip}"), out)
    assert not (out / "last").exists()
    if at <= SAVED:
        assert not (out / "state.ckpt").exists()
        assert "in another --out" in str(told.value)
        return
    assert "--resume" in str(told.value)
    state = torch.load(out / "state.ckpt", weights_only=True)
    assert state["progress"]["iteration"] == (at - 1) // SAVED * SAVED
    assert all(weight.isfinite().all() for weight in state["model"].values())
    assert json.loads((out / "diverged.json").read_text())["iteration"] >= at


def test_the_advice_can_be_followed(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        spoil(patched, 5)
        with pytest.raises(ConfigError, match="training diverged"):
            train(recipe(folder), out)
    advised = recipe(
        folder,
        "optimizer.lr=1e-4",
        "schedule.warmup_iterations=6",
        "training.precision=32-true",
    )
    with pytest.raises(CheckpointError, match=r"training\.batch_size changed"):
        train(recipe(folder, "optimizer.lr=1e-4", "training.batch_size=1"), out, resume=True)
    train(advised, out, resume=True)
    assert (out / "result.json").is_file()
    assert not (out / "diverged.json").exists()
    rows = (out / "train.csv").read_text().splitlines()
    assert rows[1].startswith("1,")
    # what was advised is the recipe of the run now, and another one is refused again
    with pytest.raises(CheckpointError, match=r"another recipe: optimizer\.lr, schedule"):
        train(recipe(folder), out, resume=True)


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e999", ".inf", ".nan", "'inf'"])
def test_a_rate_that_is_no_number_is_refused(folder, value):
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        recipe(folder, f"optimizer.lr={value}")
