"""Class queries in a ViT's last blocks: what is supervised, and masks finer than patches."""

from __future__ import annotations

import pytest
import torch

from vitseg.backbones.steps.detail import DetailStem
from vitseg.config import parse
from vitseg.decoders.fine_masks import FineMasks
from vitseg.errors import ConfigError
from vitseg.layers.resize import resize_map
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


@torch.inference_mode()
@pytest.mark.parametrize(("size", "grid"), [((48, 80), (12, 20)), ((41, 70), (12, 20))])
def test_detail_gives_masks_of_a_quarter_of_the_padded_image(size, grid):
    model = build(detail_width=8)
    output = model.eval()(images(*size))
    assert output.mask_logits.shape[-2:] == grid
    assert output.scores().shape == (2, 5, *size)


def test_detail_sees_what_is_smaller_than_a_patch():
    """A change within one patch changes the masks within it otherwise than where the tokens alone make them."""
    torch.manual_seed(0)
    stem = DetailStem(3, 8)
    image = torch.zeros(1, 3, 32, 32)
    image[..., 5:7, 5:7] = 1
    changed = (stem(image) - stem(torch.zeros_like(image))).abs().sum(1)[0] > 1e-6
    rows, columns = changed.nonzero(as_tuple=True)
    assert changed.any()
    assert max(rows.max(), columns.max()) <= 2  # of the 8 x 8 cells, those beside the change


@torch.inference_mode()
def test_the_detail_stem_takes_the_channels_of_the_backbone():
    channels = ["red", "green", "blue", "other"]
    raw = {
        "backbone": {**BACKBONE, "channels": channels},
        "decoder": {"num_blocks": 2, "detail_width": 8},
    }
    model = parse(METHODS["segvit_joint"], raw).build(5, (64, 64))
    assert model.eval()(torch.randn(1, 4, 32, 48)).mask_logits.shape == (1, 5, 8, 12)


def test_a_detail_map_of_another_stride_than_the_tokens_decides_the_size():
    torch.manual_seed(0)
    fine = FineMasks(12, 8)
    tokens, detail = torch.randn(1, 12, 2, 3), torch.randn(1, 8, 7, 11)
    assert fine(torch.randn(1, 5, 12), tokens, detail).shape == (1, 5, 7, 11)


def test_masks_with_detail_start_as_those_without_and_leave_them():
    with_detail = build(detail_width=8, masked_attention=False).train()
    without = build(masked_attention=False).train()
    without.load_state_dict(with_detail.state_dict(), strict=False)
    x = images()
    ours, theirs = with_detail(x), without(x)
    torch.testing.assert_close(ours.mask_logits, resize_map(theirs.mask_logits, (12, 20)))
    assert [stage.mask_logits.shape[-2:] for stage in ours.stages] == [(6, 10)] * 2
    ours.mask_logits.square().sum().backward()
    fine = with_detail.decoder.fine
    assert fine.ask.weight.grad.abs().max() > 0
    torch.nn.init.normal_(fine.ask.weight)
    assert not torch.allclose(with_detail(x).mask_logits, ours.mask_logits, atol=0.1)


def test_the_detail_stem_starts_from_random_weights_and_learns_at_the_decoders_rate():
    model = build(detail_width=8)
    assert not model.backbone.is_encoder
    fresh = {name for name, _ in model.named_parameters() if name.startswith("backbone.detail.")}
    assert fresh
    assert all(any(name.startswith(part) for part in model.fresh_parts) for name in fresh)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"backbone": {**BACKBONE, "tap_norm": False}}, "set backbone.tap_norm: true"),
    ],
)
def test_contradictions_are_named(raw, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS["segvit_joint"], {"backbone": BACKBONE, **raw})
