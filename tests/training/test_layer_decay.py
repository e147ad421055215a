"""Layer-wise decay of the learning rate, against its formula."""

from __future__ import annotations

import pytest

from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.training.optimizer import OptimizerConfig, parameter_groups

LR, RATIO, DECAY = 1e-3, 10, 0.8
CONFIG = OptimizerConfig(lr=LR, head_lr_ratio=RATIO, layer_decay=DECAY)


def build(method: str = "segvit", **sections) -> SegmentationModel:
    vit = {"name": "test_vit", "pretrained": False, "taps": [5]}
    return METHODS[method].model_validate({"backbone": vit, **sections}).build(3, (32, 32))


def rates_of(model: SegmentationModel, config: OptimizerConfig = CONFIG) -> dict[str, float]:
    groups = parameter_groups(model, config)
    return {name: group["lr"] for group in groups for name in group["names"]}


def test_every_block_of_a_plain_vit_has_its_rate():
    model = build()
    rates = rates_of(model)
    assert rates.keys() == {name for name, _ in model.named_parameters()}
    for index in range(6):
        (rate,) = {rate for name, rate in rates.items() if f"backbone.blocks.{index}." in name}
        assert rate == pytest.approx(LR * DECAY ** (6 - index))
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
        assert rates[f"backbone.{name}"] == pytest.approx(LR * DECAY**7)
    assert {rate for name, rate in rates.items() if name.startswith("decoder.")} == {LR * RATIO}


def test_blocks_are_counted_up_to_the_deepest_tap_and_the_norm_behind_them_is_not_slowed():
    vit = {"name": "test_vit", "pretrained": False, "taps": [3], "tap_norm": True}
    rates = rates_of(build("linear", backbone=vit))
    assert rates["backbone.blocks.3.norm1.weight"] == pytest.approx(LR * DECAY)
    assert rates["backbone.blocks.0.attn.qkv.weight"] == pytest.approx(LR * DECAY**4)
    assert rates["backbone.norm.weight"] == LR


def test_a_neck_is_behind_the_blocks_and_stated_ratios_count():
    rates = rates_of(
        build(
            "setr",
            backbone={"name": "test_vit", "pretrained": False, "taps": [1, 3]},
            decoder={"kind": "mla"},
        ),
        CONFIG.model_copy(update={"lr_ratios": {"backbone.vit.blocks.0.": 3}}),
    )
    assert rates["backbone.vit.blocks.1.attn.proj.bias"] == pytest.approx(LR * DECAY**3)
    assert rates["backbone.projections.0.conv.weight"] == LR
    assert rates["backbone.vit.blocks.0.attn.proj.bias"] == pytest.approx(3 * LR)


def test_the_blocks_of_a_swin_are_counted_through_its_stages():
    swin = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]}
    rates = rates_of(build("upernet", backbone=swin, decoder={"embed_dim": 16}))
    blocks = [(stage, index) for stage in range(2) for index in range(2)]
    for number, (stage, index) in enumerate(blocks):
        name = f"backbone.layers.{stage}.blocks.{index}.mlp.fc1.weight"
        assert rates[name] == pytest.approx(LR * DECAY ** (4 - number))
    assert rates["backbone.layers.1.downsample.reduction.weight"] == pytest.approx(LR * DECAY**2)
    assert rates["backbone.patch_embed.proj.weight"] == pytest.approx(LR * DECAY**5)
    assert rates["backbone.norms.1.weight"] == LR


def test_what_has_no_blocks_is_refused():
    resnet = {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}
    with pytest.raises(
        ConfigError, match="layer_decay is for the blocks of plain ViTs and of Swin"
    ):
        parameter_groups(build("nrd", backbone=resnet), CONFIG)
    frozen = build()
    frozen.backbone.requires_grad_(False)
    with pytest.raises(ConfigError, match="but none is trained"):
        parameter_groups(frozen, CONFIG)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        OptimizerConfig(layer_decay=1.2)
