"""Class queries in a ViT's last blocks: what is supervised."""

from __future__ import annotations

import pytest
import torch

from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.methods import METHODS

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [5], "tap_norm": True}


def build(**decoder):
    raw = {"backbone": BACKBONE, "decoder": {"num_blocks": 2, **decoder}}
    torch.manual_seed(0)
    return parse(METHODS["segvit_joint"], raw).build(5, (64, 64))


def images(height: int = 48, width: int = 80) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_a_query_for_every_class_and_a_prediction_in_front_of_every_joint_block():
    model = build()
    output = model.train()(images())
    assert output.mask_logits.shape == (2, 5, 6, 10)  # patches of 16, doubled once
    assert output.class_logits.shape == (2, 5, 6)
    assert [stage.name for stage in output.stages] == ["block_0", "block_1"]
    assert model.eval()(images()).stages == ()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"backbone": {**BACKBONE, "tap_norm": False}}, "set backbone.tap_norm: true"),
    ],
)
def test_contradictions_are_named(raw, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS["segvit_joint"], {"backbone": BACKBONE, **raw})
