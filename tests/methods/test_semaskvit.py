"""Semantic layers in a plain ViT."""

from __future__ import annotations

import pytest
import torch

from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.methods import segvit, semaskvit
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.semaskvit import SeMaskVitConfig

VIT = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}


def model_of(blocks, **backbone):
    sections = {"backbone": {**VIT, **backbone}, "semantic": {"blocks": blocks}}
    config = parse(SeMaskVitConfig, sections)
    return semaskvit.build(config, 3, (64, 64)), config


@torch.inference_mode()
@pytest.mark.parametrize("prefix", ["keep", "drop"])
def test_at_the_start_it_is_segvit(prefix):
    model, _ = model_of([0, 3], prefix_tokens=prefix)
    plain = parse(SegVitConfig, {"backbone": {**VIT, "prefix_tokens": prefix}})
    reference = segvit.build(plain, 3, (64, 64)).eval()
    state = {n.replace("backbone.vit.", "backbone."): v for n, v in model.state_dict().items()}
    reference.load_state_dict({n: v for n, v in state.items() if ".semantic." not in n})
    images = torch.randn(2, 3, 50, 70)
    ours, theirs = model.eval()(images), reference(images)
    torch.testing.assert_close(ours.mask_logits, theirs.mask_logits)
    assert ours.aux.keys() == theirs.aux.keys()  # no semantic maps in prediction
    with torch.no_grad():
        model.backbone.semantic["0"].gamma.fill_(1)
    assert not torch.allclose(model(images).mask_logits, theirs.mask_logits)


def test_semantic_maps_are_summed_and_supervised():
    model, config = model_of([1, 2])
    model.train()
    images, labels = torch.randn(2, 3, 32, 48), torch.randint(3, (2, 32, 48))
    maps = model.backbone(images).aux
    assert list(maps) == ["block_1", "block_2"]
    output = model(images)
    semantic = output.aux["semantic"].mask_logits
    assert semantic.shape == (2, 3, 2, 3) == maps["block_1"].shape
    torch.testing.assert_close(semantic, maps["block_1"] + maps["block_2"])
    terms = semaskvit.build_loss(config)(output, labels)
    half = semaskvit.build_loss(config.model_copy(update={"semantic_weight": 0.2}))(output, labels)
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
