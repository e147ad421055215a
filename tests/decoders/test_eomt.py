"""EoMT's mask module, its masks in training, and how they fade out."""

from __future__ import annotations

import pytest
import torch

from vitseg.config import parse
from vitseg.decoders.eomt import (
    EomtDecoder,
    EomtDecoderConfig,
    MaskAnnealing,
    masked_patches,
    masking_probability,
)
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [5], "tap_norm": True}


def build(**decoder):
    raw = {"backbone": BACKBONE, "decoder": {"num_queries": 8, "num_blocks": 2, **decoder}}
    torch.manual_seed(0)
    return parse(METHODS["eomt"], raw).build(5, (64, 64))


def images() -> torch.Tensor:
    return torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))


def test_the_probability_falls_in_one_block_after_the_other():
    """Three blocks: five parts, of which the first and the last are steady."""
    for block in range(3):
        assert masking_probability(block, 3, 0.0) == 1
        assert masking_probability(block, 3, (block + 1) / 5) == 1
        middle = masking_probability(block, 3, (block + 1.5) / 5)
        assert middle == pytest.approx(0.5**0.9)
        assert masking_probability(block, 3, (block + 2) / 5) == pytest.approx(0, abs=1e-9)
        assert masking_probability(block, 3, 1.0) == 0


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_queries_are_held_to_their_masks_with_that_probability(probability):
    torch.manual_seed(0)
    masks = torch.randn(20, 100, 2, 6)
    output = ClassLogits(masks, (8, 24), (8, 24))
    allowed = masked_patches(output, (1, 3), probability)
    assert allowed is not None
    in_mask = torch.nn.functional.interpolate(masks, (1, 3), mode="bilinear").flatten(2) > 0
    is_held = (allowed == in_mask).all(-1)
    free = allowed.all(-1)
    assert (is_held | free).all()
    share = is_held[~in_mask.all(-1)].float().mean().item()
    assert share == pytest.approx(probability, abs=0.03)


def test_no_masks_are_made_once_the_probability_is_0():
    masking = MaskAnnealing(3)
    assert masking.is_on == (True, True, True)
    masking.hear(0.5)  # 2.5 of five parts
    assert masking.is_on == (False, True, True)
    assert masking.probabilities.tolist() == pytest.approx([0, 0.5**0.9, 1])
    masking.hear(1.0)
    assert masking.is_on == (False, False, False)


def test_the_finished_model_needs_no_masks():
    """At the end of training it computes what it will compute ever after; at its start it does not."""
    model = build()
    with torch.no_grad():
        for parameter in model.decoder.parameters():  # the start gives masks that differ little
            parameter.add_(0.3 * torch.randn_like(parameter))
        expected = model.eval()(images())
        model.train().set_progress(1.0)
        finished = model(images())
        torch.testing.assert_close(finished.mask_logits, expected.mask_logits)
        torch.testing.assert_close(finished.class_logits, expected.class_logits)
        model.set_progress(0.0)
        assert not torch.allclose(model(images()).mask_logits, expected.mask_logits)


@torch.inference_mode()
def test_a_prediction_in_front_of_every_joint_block_in_training_only():
    model = build()
    trained = model.train()(images())
    assert [early.name for early in trained.stages] == ["block_0", "block_1"]
    assert trained.extras == {}
    assert all(early.mask_logits.shape == trained.mask_logits.shape for early in trained.stages)
    assert trained.num_classes == 5
    finished = model.eval()(images())
    assert (finished.stages, finished.extras) == ((), {})


@torch.inference_mode()
@pytest.mark.parametrize(("patch", "factor"), [(8, 2), (14, 4), (16, 4), (32, 8)])
def test_masks_have_about_a_quarter_of_the_images_size(patch, factor):
    decoder = EomtDecoder(16, (patch, patch), 5, EomtDecoderConfig(num_queries=3))
    assert spatial_size(decoder.upscale(torch.randn(1, 16, 2, 3))) == (2 * factor, 3 * factor)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ({"taps": [3, 5]}, r"reads one block, but backbone.taps names \[3, 5\]: give the last"),
        ({"tap_norm": False}, "set backbone.tap_norm: true"),
    ],
)
def test_contradictions_are_named(backbone, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS["eomt"], {"backbone": {**BACKBONE, **backbone}})
