"""The batch that gave numbers without bound: kept with its samples, and named in the error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import ConfigError
from vitseg.training.batches import samples_at
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import parse_recipe
from vitseg.training.run_data import read_data
from vitseg.training.step import LossOfModel
from vitseg.training.task import task_of


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("kept") / "data")


def recipe(root, **training):
    raw = tiny_recipe(**{"batch_size": 4, "save_interval": 1, **training})
    raw["data"]["source"] = f"folder:{root}"
    return parse_recipe(raw)


def spoil(monkeypatch, at: int, how) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What a call of the step gives is spoilt; returns what it was called with, call by call."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = LossOfModel.forward

    def forward(self, images, labels):
        calls.append((images, labels))
        terms = real(self, images, labels)
        return terms if len(calls) != at else {**terms, "loss_ce": how(terms["loss_ce"])}

    monkeypatch.setattr(LossOfModel, "forward", forward)
    return calls


def test_the_micro_batch_without_a_loss_is_kept(root, tmp_path, monkeypatch):
    out = tmp_path / "run"
    calls = spoil(monkeypatch, 6, lambda loss: loss * float("nan"))  # the second of iteration 3
    with pytest.raises(ConfigError, match="the loss is nan at iteration 3") as told:
        train(recipe(root, accumulate=2), out)
    assert f"Its batch is kept: torch.load('{out / 'diverged-0.pt'}')" in str(told.value)
    kept = torch.load(out / "diverged-0.pt", weights_only=True)
    assert (kept["iteration"], kept["rank"], kept["found"]) == (3, 0, "the loss is nan")
    (part,) = kept["micro_batches"]
    assert part["number"] == 1
    assert part["inputs"].equal(calls[5][0])
    assert part["labels"].equal(calls[5][1])
    assert part["inputs"].untyped_storage().nbytes() == part["inputs"].nbytes
    assert part["terms"]["loss_ce"] != part["terms"]["loss_ce"]
    assert [sample["position"] for sample in part["samples"]] == [10, 11]
    chosen = recipe(root, accumulate=2)
    data = read_data(chosen, task_of(chosen), Display(quiet=True))
    for sample, image in zip(part["samples"], part["inputs"], strict=True):
        again = data.drawn.samples[sample["sample"], sample["position"]]
        assert again[0].equal(image)
        assert sample["image"].endswith(".png")


def test_a_gradient_that_is_no_number_is_told_before_its_weights_are(root, tmp_path, monkeypatch):
    """The loss is finite: its slope at 0 is not."""
    out = tmp_path / "run"
    calls = spoil(monkeypatch, 2, lambda loss: loss + (loss * 0).sqrt())
    with pytest.raises(ConfigError, match="the norm of the gradient is nan at iteration 2"):
        train(recipe(root), out)
    assert len(calls) == 2
    kept = torch.load(out / "diverged-0.pt", weights_only=True)
    assert kept["gradient_norm"] != kept["gradient_norm"]
    (part,) = kept["micro_batches"]
    assert part["inputs"].equal(calls[1][0])
    assert torch.load(out / "state.ckpt", weights_only=True)["progress"]["iteration"] == 1


def test_without_clipping_gradients_are_looked_at_as_well(root, tmp_path, monkeypatch):
    spoil(monkeypatch, 2, lambda loss: loss + (loss * 0).sqrt())
    chosen = recipe(root)
    loose = chosen.optimizer.model_copy(update={"clip_grad_norm": None})
    with pytest.raises(ConfigError, match="the norm of the gradient is nan at iteration 2"):
        train(chosen.model_copy(update={"optimizer": loose}), tmp_path / "run")


def test_a_batch_that_cannot_be_kept_hides_no_error(root, tmp_path, monkeypatch):
    spoil(monkeypatch, 1, lambda loss: loss * float("nan"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(
        "vitseg.training.diverged.DIVERGED_BATCH", "no such folder/diverged-{rank}.pt"
    )
    with pytest.raises(ConfigError, match=r"training diverged\..*Its batch could not be kept"):
        train(recipe(root), tmp_path / "run")


def test_samples_of_a_step_are_those_of_the_stream(root):
    chosen = recipe(root)
    data = read_data(chosen, task_of(chosen), Display(quiet=True))

    parts: Any = SimpleNamespace(fabric=SimpleNamespace(global_rank=0, world_size=1))
    positions = [
        position for step in range(3) for _, position in samples_at(chosen, data, parts, step)
    ]
    assert positions == list(range(12))
