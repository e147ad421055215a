"""Low-rank pairs on the attention: what is trained, what is saved, and going on."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import CROP, photo, tiny_recipe, write_dataset
from tests.training.stopping import train_until
from vitseg.errors import CheckpointError, ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.training.encoder import blocks_of, encoder_of
from vitseg.training.loop import train
from vitseg.training.lora import LoraConfig, LowRank, add_lora, merged
from vitseg.training.optimizer import OptimizerConfig, parameter_groups
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.step import LossOfModel

VIT = {"name": "test_vit", "pretrained": False, "taps": [5]}
SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]}
NORMED = {**VIT, "tap_norm": True}
CASES = {
    "segvit": {"backbone": VIT},
    "shrunk": {"backbone": VIT, "edges": {"threshold": 0.5}, "shrink": {"block": 0}},
    "dtop": {"backbone": {**VIT, "taps": [1, 3, 5]}, "pruning": {"threshold": 0.9}},
    "eomt": {"backbone": NORMED, "decoder": {"num_queries": 12}},
    "semaskvit": {"backbone": VIT, "semantic": {"blocks": [1, 4]}},
    "segvit_cl": {
        "backbone": VIT,
        "tasks": [{"num_classes": 3, "decoder": {}}, {"num_classes": 2}],
    },
    "setr": {
        "backbone": {**VIT, "taps": [1, 5]},
        "decoder": {"kind": "mla", "auxiliary": [1, 5]},
    },
    "upernet": {"backbone": SWIN, "decoder": {"embed_dim": 16, "auxiliary_dim": None}},
    "segformer": {"backbone": {**VIT, "name": "eva02_tiny_patch14_224"}},  # a projection each
    "linear": {"backbone": {**NORMED, "name": "beit_base_patch16_224", "taps": [1]}},
}
"""Exits, queries, heads, layers and a neck in or on the backbone; three families of plain ViTs, and Swin."""


def build(method: str = "segvit", seed: int = 0) -> SegmentationModel:
    torch.manual_seed(seed)
    return METHODS[method].model_validate(CASES[method]).build(5, CROP)


def moved(model: SegmentationModel) -> SegmentationModel:
    """With pairs that make a difference."""
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, LowRank):
                part.up.normal_()
    return model


IMAGES = torch.randn(2, 3, *CROP, generator=torch.Generator().manual_seed(1))


SOME = [
    name if name in ("segvit", "dtop", "segvit_cl") else pytest.param(name, marks=pytest.mark.slow)
    for name in CASES
]


@pytest.mark.parametrize("method", SOME)
def test_the_model_begins_as_it_is_and_is_merged_into_an_ordinary_one(method):
    plain = build(method).eval()
    model = copy.deepcopy(plain)
    add_lora(model, LoraConfig(rank=4))
    with torch.inference_mode():
        torch.testing.assert_close(
            model.eval()(IMAGES).scores(), plain(IMAGES).scores(), rtol=0, atol=0
        )
        expected = moved(model)(IMAGES).scores()
        assert not torch.allclose(expected, plain(IMAGES).scores(), rtol=0, atol=1e-4)
        state = merged(model.state_dict(), model)
        plain.load_state_dict(state)  # the very names
        torch.testing.assert_close(plain(IMAGES).scores(), expected, rtol=0, atol=1e-5)
    assert any(isinstance(part, LowRank) for part in model.modules())  # which stays as it is


@pytest.mark.parametrize("method", SOME)
def test_pairs_and_what_is_new_are_trained_and_nothing_else(method):
    config = METHODS[method].model_validate(CASES[method])
    model = build(method)
    before = {name for name, p in model.named_parameters() if p.requires_grad}
    add_lora(model, LoraConfig())
    step = LossOfModel(moved(model), config.criterion()).train()
    labels = torch.randint(0, 5, (2, *CROP), generator=torch.Generator().manual_seed(2))
    sum(step(IMAGES, labels).values()).backward()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {name for name, p in model.named_parameters() if p.grad is not None}
    pairs = {name for name in learning if ".parametrizations." in name}
    blocks = blocks_of(model)
    assert blocks is not None
    for start, block in blocks.blocks.items():
        split = hasattr(block.attn, "q_proj")
        of_block = {name for name in pairs if name.startswith(f"{start}attn.")}
        assert len(of_block) == 2 * (4 if split else 2), start
    assert len(pairs) == sum(2 for part in model.modules() if isinstance(part, LowRank))
    others = learning - pairs
    assert others == {name for name in before if name in others}
    fresh = ("decoder.", "backbone.edge_head.", "backbone.semantic.", "backbone.norms.")
    neck = ("backbone.projections.", "backbone.smoothings.")
    assert all(name.startswith((*fresh, *neck)) for name in others)
    assert {name for name in before if name.startswith(fresh[:3])} <= others


def test_pairs_learn_at_the_rate_of_the_decoder():
    model = build()
    add_lora(model, LoraConfig(targets=("qkv",)))
    groups = parameter_groups(model, OptimizerConfig(lr=1e-4, head_lr_ratio=10))
    rate = {name: group["lr"] for group in groups for name in group["names"]}
    pair = "backbone.blocks.0.attn.qkv.parametrizations.weight.0.up"
    assert rate[pair] == rate["decoder.query_embed.weight"] == 1e-3
    assert not any("attn.proj" in name or "mlp" in name for name in rate if "backbone" in name)
    decaying = OptimizerConfig(lr=1e-4, head_lr_ratio=10, layer_decay=0.5)
    groups = parameter_groups(model, decaying)
    rate = {name: group["lr"] for group in groups for name in group["names"]}
    assert rate[pair] == pytest.approx(1e-3 * 0.5**6)
    assert rate[pair.replace("blocks.0", "blocks.5")] == pytest.approx(1e-3 * 0.5)


def test_other_backbones_are_refused():
    config = METHODS["nrd"].model_validate(
        {"backbone": {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}}
    )
    with pytest.raises(ConfigError, match="attention of plain ViTs and of Swin"):
        add_lora(config.build(3, CROP), LoraConfig())


def test_a_rank_that_is_not_low_is_refused():
    model = build()
    width = encoder_of(model).blocks[0].attn.proj.in_features  # pyright: ignore
    with pytest.raises(ConfigError, match=rf"rank is {width + 1}, .* give {width} at most"):
        add_lora(model, LoraConfig(rank=width + 1))
    add_lora(build(), LoraConfig(rank=width))


def recipe(**training) -> dict:
    return tiny_recipe(lora={"rank": 2}, **training)


def test_two_ways_to_freeze_are_refused():
    with pytest.raises(ConfigError, match=r"lora trains pairs .* leave one of them out"):
        parse_recipe(recipe(freeze_backbone=True))
    with pytest.raises(ConfigError, match=r"training\.lora\.targets.* is 'mlp'"):
        parse_recipe(tiny_recipe(lora={"targets": ["mlp"]}))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    return f"folder:{write_dataset(tmp_path_factory.mktemp('data') / 'scenes')}"


def parsed(source: str, **training) -> Recipe:
    mapping = recipe(**training)
    mapping["data"]["source"] = source
    mapping["backbone"]["drop_path"] = 0.2
    mapping["backbone"]["gradient_checkpointing"] = True
    return parse_recipe(mapping)


@pytest.mark.slow  # another process imports torch
def test_what_is_saved_is_an_ordinary_model_that_predicts_without_training(source, tmp_path):
    train(parsed(source), tmp_path / "run")
    saved = load_file(tmp_path / "run/best/model.safetensors")
    assert not any("parametrizations" in name for name in saved)
    assert "lora" not in json.dumps(
        json.loads((tmp_path / "run/best/config.json").read_text())["architecture"]
    )
    code = (
        "import sys, numpy as np; from vitseg.inference.predictor import load;"
        "image = np.load(sys.argv[2]); np.save(sys.argv[3], load(sys.argv[1])(image).label_map);"
        "assert not any(name.startswith('vitseg.training') for name in sys.modules)"
    )
    np.save(tmp_path / "photo.npy", photo(64, 80))
    files = [str(tmp_path / name) for name in ("run", "photo.npy", "labels.npy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "labels.npy").shape == (64, 80)


def test_the_frozen_weights_stay_and_the_merged_ones_move(source, tmp_path):
    run = parsed(source)
    train(run, tmp_path / "run")
    torch.manual_seed(run.training.seed)
    begun = run.model.build(3, CROP).state_dict()
    saved = load_file(tmp_path / "run/last/model.safetensors")
    assert torch.equal(
        saved["backbone.blocks.0.mlp.fc1.weight"], begun["backbone.blocks.0.mlp.fc1.weight"]
    )
    assert torch.equal(saved["backbone.pos_embed"], begun["backbone.pos_embed"])
    assert not torch.equal(
        saved["backbone.blocks.0.attn.qkv.weight"], begun["backbone.blocks.0.attn.qkv.weight"]
    )


def test_a_run_goes_on_with_the_same_bits(source, tmp_path):
    whole = parsed(source, iterations=4, save_interval=2)
    train(whole, tmp_path / "whole")
    train_until(2, whole, tmp_path / "cut")
    train(whole, tmp_path / "cut", resume=True)
    one, other = (load_file(tmp_path / f"{run}/last/model.safetensors") for run in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    plain = whole.model_copy(update={"training": whole.training.model_copy(update={"lora": None})})
    with pytest.raises(CheckpointError, match=r"training\.lora"):
        train(plain, tmp_path / "cut", resume=True)
