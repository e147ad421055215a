"""Segmenter's decoders beyond the golden."""

from __future__ import annotations

import pytest
import torch

from vitseg.config import parse
from vitseg.decoders.segmenter import MaskTransformer, SegmenterDecoderConfig
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.methods import METHODS

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [5], "tap_norm": True}


def features() -> Features:
    x = torch.randn(2, 24, 3, 5, generator=torch.Generator().manual_seed(0))
    return Features((x,), (48, 80), (48, 80))


@torch.inference_mode()
def test_scores_of_a_patch_are_normalised_over_the_classes():
    torch.manual_seed(0)
    decoder = MaskTransformer(24, 6, SegmenterDecoderConfig(embed_dim=32, num_heads=4)).eval()
    logits = decoder(features()).mask_logits
    assert logits.shape == (2, 6, 3, 5)
    torch.testing.assert_close(logits.mean(1), torch.zeros(2, 3, 5), atol=1e-5, rtol=0)
    assert decoder.mask_norm.eps == decoder.blocks[0].norm1.eps == 1e-5


def test_dropout_acts_in_training_only():
    decoder = MaskTransformer(24, 6, SegmenterDecoderConfig(embed_dim=32, num_heads=4))
    first, second = (decoder.train()(features()).mask_logits for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (decoder.eval()(features()).mask_logits for _ in range(2))
    assert torch.equal(first, second)


def test_one_head_per_64_channels_where_none_are_named():
    decoder = MaskTransformer(192, 6, SegmenterDecoderConfig())
    assert decoder.blocks[0].attn.num_heads == 3


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"backbone": {**BACKBONE, "taps": [3, 5]}}, r"names \[3, 5\]: give the last"),
        ({"backbone": {**BACKBONE, "tap_norm": False}}, "set backbone.tap_norm: true"),
        (
            {"backbone": BACKBONE, "decoder": {"kind": "linear", "num_layers": 3}},
            'num_layers belong to kind "mask": set it, or leave them out',
        ),
        (
            {"backbone": BACKBONE, "decoder": {"num_heads": 5}},
            "decoder.embed_dim 64 is not divisible by decoder.num_heads 5",
        ),
    ],
)
def test_contradictions_are_named(raw, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS["segmenter"], raw).build(5, (64, 64))
