"""AdamW with states of 8 bits: near AdamW, saved and restored to the bit, refused where its library is missing."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_recipe, write_dataset
from tests.training.stopping import train_until
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.training.loop import train
from vitseg.training.lowbit import has_lowbit
from vitseg.training.optimizer import OptimizerConfig, build_optimizer
from vitseg.training.recipe import parse_recipe

CONFIG = OptimizerConfig(kind="adamw8bit", lr=1e-3, weight_decay=0.1, betas=(0.9, 0.95))


def build():
    config = METHODS["segvit"].model_validate(
        {"backbone": {"name": "test_vit", "pretrained": False, "taps": [1]}}
    )
    torch.manual_seed(0)
    return config.build(3, (32, 32))


def test_a_missing_library_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"adamw8bit.* pip install 'vitseg\[lowbit\]'"):
        build_optimizer(build(), CONFIG)


def test_momentum_is_not_its_field():
    with pytest.raises(ValueError, match='momentum belongs to kind "sgd"'):
        OptimizerConfig(kind="adamw8bit", momentum=0.5)


def test_sharded_weights_have_none():
    mapping = tiny_recipe(devices=2, strategy="fsdp")
    mapping["optimizer"]["kind"] = "adamw8bit"
    with pytest.raises(ConfigError, match=r"states of whole weights, which training\.strategy"):
        parse_recipe(mapping)


needs_library = [
    pytest.mark.slow,  # it takes long to import
    pytest.mark.skipif(not has_lowbit(), reason="bitsandbytes is not installed"),
]


class TestSteps:
    pytestmark = needs_library

    def step(self, model, optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    def test_it_goes_where_adamw_goes(self):
        weights = []
        for config in (CONFIG, CONFIG.model_copy(update={"kind": "adamw"})):
            model = build()
            optimizer = build_optimizer(model, config)
            for seed in range(3):
                self.step(model, optimizer, seed)
            weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        moved = (weights[1] - torch.cat([p.detach().flatten() for p in build().parameters()])).abs()
        assert (weights[0] - weights[1]).abs().mean() < 0.05 * moved.mean()

    def test_large_states_have_8_bits_and_come_back_from_a_file(self, tmp_path):
        model = build()
        optimizer = build_optimizer(model, CONFIG)
        assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0, 0.1]
        self.step(model, optimizer, 0)
        large = optimizer.state[model.backbone.blocks[0].attn.qkv.weight]
        assert large["state1"].dtype == large["state2"].dtype == torch.uint8
        other = copy.deepcopy(model)
        torch.save(optimizer.state_dict(), tmp_path / "state")
        restored = build_optimizer(other, CONFIG)
        restored.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
        for each, its in ((model, optimizer), (other, restored)):
            self.step(each, its, 1)
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)

    def test_a_run_goes_on_with_the_same_bits(self, tmp_path):
        mapping = tiny_recipe(iterations=4, save_interval=2)
        mapping["optimizer"] |= {"kind": "adamw8bit"}
        mapping["data"]["source"] = f"folder:{write_dataset(tmp_path / 'data')}"
        recipe = parse_recipe(mapping)
        train(recipe, tmp_path / "run")
        expected = load_file(tmp_path / "run/last/model.safetensors")
        train_until(2, recipe, tmp_path / "cut")
        train(recipe, tmp_path / "cut", resume=True)
        found = load_file(tmp_path / "cut/last/model.safetensors")
        assert all(torch.equal(found[name], expected[name]) for name in expected)
