"""Semantic layers in a plain ViT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.semantic import SemanticStep
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.semaskvit import SeMaskVitConfig
from vitseg.outputs import SEMANTIC

VIT = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}


def model_of(blocks, **backbone):
    sections = {"backbone": {**VIT, **backbone}, "semantic": {"blocks": blocks}}
    config = parse(SeMaskVitConfig, sections)
    return config.build(3, (64, 64)), config


@torch.inference_mode()
@pytest.mark.parametrize("prefix", ["keep", "drop"])
def test_at_the_start_it_is_segvit(prefix):
    model, _ = model_of([0, 3], prefix_tokens=prefix)
    plain = parse(SegVitConfig, {"backbone": {**VIT, "prefix_tokens": prefix}})
    reference = plain.build(3, (64, 64)).eval()
    state = model.state_dict()
    reference.load_state_dict({n: v for n, v in state.items() if ".semantic." not in n})
    images = torch.randn(2, 3, 50, 70)
    ours, theirs = model.eval()(images), reference(images)
    torch.testing.assert_close(ours.mask_logits, theirs.mask_logits)
    assert [s.name for s in ours.stages] == [s.name for s in theirs.stages]
    assert ours.extras == theirs.extras == {}  # no semantic maps in prediction
    with torch.no_grad():
        model.backbone.semantic["0"].gamma.fill_(1)
    assert not torch.allclose(model(images).mask_logits, theirs.mask_logits)


def semantic_maps(vit: PlainViT, images: Tensor) -> dict[int, Tensor]:
    """The map of every semantic layer alone, by its block."""
    stream, maps = vit.start(images), {}
    for block, steps in enumerate(vit.steps):
        for step in steps:
            if isinstance(step, SemanticStep):
                alone = step(replace(stream, extras={}))
                maps[block] = alone.extras[SEMANTIC].mask_logits
            stream = step(stream)
    return maps


def test_semantic_maps_are_summed_and_supervised():
    model, config = model_of([1, 2])
    model.train()
    images, labels = torch.randn(2, 3, 32, 48), torch.randint(3, (2, 32, 48))
    maps = semantic_maps(model.backbone, images)
    assert list(maps) == [1, 2]
    output = model(images)
    semantic = output.extras["semantic"].mask_logits
    assert semantic.shape == (2, 3, 2, 3) == maps[1].shape
    torch.testing.assert_close(semantic, maps[1] + maps[2])
    terms = config.criterion()(output, labels)
    half = config.model_copy(update={"semantic_weight": 0.2}).criterion()(output, labels)
    assert terms["loss_semantic"].item() == pytest.approx(2 * half["loss_semantic"].item())
    sum(terms.values()).backward()
    assert model.backbone.semantic["2"].query.weight.grad.abs().max() > 0
    assert model.backbone.semantic["2"].gamma.grad.abs() > 0


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([4], "names block 4, but backbone.taps ends with block 3"),
        ([2, 1], r"blocks must be increasing block indices from 0, got \[2, 1\]"),
    ],
)
def test_contradictions_are_named(blocks, message):
    with pytest.raises(ConfigError, match=message):
        model_of(blocks)
