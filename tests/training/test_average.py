"""The moving average of the weights: its formula, what is averaged, and that it is what is validated and kept."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import CheckpointError, ConfigError
from vitseg.training import loop
from vitseg.training.average import WeightAverage
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, parse_recipe


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def change(module: nn.Module) -> None:
    with torch.no_grad():
        for value in module.state_dict().values():
            value.add_(1)


def test_it_is_its_formula():
    net = model()
    average = WeightAverage(net, 0.5)
    expected = net[0].weight.detach().clone()
    for iteration in range(1, 12):
        change(net)
        average.update(iteration)
        decay = min(0.5, (1 + iteration) / (10 + iteration))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average.state["0.weight"], expected)
    assert decay == 0.5


def test_statistics_are_averaged_and_frozen_parameters_and_counters_are_the_models():
    net = model()
    net[2].requires_grad_(False)
    average = WeightAverage(net, 0.9)
    assert average.state.keys() == {
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
    }  # fmt: skip
    change(net)
    average.update(1000)
    torch.testing.assert_close(average.state["1.running_mean"], torch.full((3,), 0.1))


def test_the_model_has_the_averages_for_a_while():
    net = model()
    average = WeightAverage(net, 0.9)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    change(net)
    changed = {name: value.clone() for name, value in net.state_dict().items()}
    with average.in_the_model():
        for name in average.state:
            assert net.state_dict()[name].equal(first[name]), name
        assert net.state_dict()["1.num_batches_tracked"] == 1
    for name, value in net.state_dict().items():
        assert value.equal(changed[name]), name


def test_shared_weights_are_averaged_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    average = WeightAverage(net, 0.9)
    change(net)
    after = net[0].weight.clone()
    with average.in_the_model():
        pass
    assert net[0].weight.equal(after)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("average") / "data")


def recipe(root, **training) -> Recipe:
    raw = tiny_recipe(ema=0.9, save_interval=2, **training)
    raw["data"]["source"] = f"folder:{root}"
    return parse_recipe(raw)


def test_a_run_validates_and_keeps_the_average(root, tmp_path, monkeypatch):
    seen: list[torch.Tensor] = []
    real = loop.evaluate

    def look(predictor, *arguments, **options):
        weight = dict(predictor.network.named_parameters())["decoder.query_embed.weight"]
        seen.append(weight.detach().clone())
        return real(predictor, *arguments, **options)

    monkeypatch.setattr(loop, "evaluate", look)
    train(recipe(root), tmp_path / "run")
    state = torch.load(tmp_path / "run/state.ckpt", weights_only=True)
    for folder in ("best", "last"):
        kept = load_file(tmp_path / "run" / folder / "model.safetensors")
        assert kept.keys() == state["model"].keys()
        for name, value in state["average"].items():
            assert kept[name].equal(value), name
    (validated,) = seen
    assert validated.equal(state["average"]["decoder.query_embed.weight"])
    assert not validated.equal(state["model"]["decoder.query_embed.weight"])


def test_a_state_without_the_average_is_damaged(root, tmp_path):
    out = tmp_path / "run"
    train(recipe(root), out)
    state = torch.load(out / "state.ckpt", weights_only=True)
    del state["average"]
    torch.save(state, out / "state.ckpt")
    with pytest.raises(CheckpointError, match="damaged or no training state"):
        train(recipe(root), out, resume=True)


@pytest.mark.parametrize("ema", [0, 1, -1, 2])
def test_a_decay_that_is_none_is_refused(root, ema):
    raw = tiny_recipe(ema=ema)
    with pytest.raises(ConfigError, match=r"training\.ema"):
        parse_recipe(raw)
