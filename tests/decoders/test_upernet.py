"""UPerNet and the pyramid of a plain ViT: against plain functions, at tiny sizes, with published sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.shapes_alone import shapes_alone
from vitseg.config import parse
from vitseg.decoders.feature_pyramid import SimpleFeaturePyramid
from vitseg.decoders.upernet import UperNetDecoder, UperNetDecoderConfig
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.inference.operations import count_operations
from vitseg.methods import METHODS
from vitseg.training.recipe import load_recipe
from vitseg.types import spatial_size

CHANNELS, GRIDS = (6, 8, 10, 12), ((16, 24), (8, 12), (4, 6), (2, 3))
CONFIG = UperNetDecoderConfig(embed_dim=7, auxiliary_dim=5)


def features_of(grids=GRIDS, batch: int = 2) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(batch, channels, *grid, generator=generator)
        for channels, grid in zip(CHANNELS, grids, strict=True)
    ]
    return Features(tuple(maps), (64, 96), (64, 96))


def decoder_of(config: UperNetDecoderConfig = CONFIG) -> UperNetDecoder:
    """With statistics of the normalisations that matter."""
    torch.manual_seed(0)
    decoder = UperNetDecoder(CHANNELS, 5, config)
    for name, buffer in decoder.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn_like(buffer))
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand_like(buffer))
    return decoder.eval()


def conv(state: dict[str, Tensor], name: str) -> Callable[[Tensor], Tensor]:
    weight = state[name + ".conv.weight"]

    def run(x: Tensor) -> Tensor:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        mean, var, scale, shift = (
            state[f"{name}.norm.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift).relu()

    return run


def resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


@torch.inference_mode()
def test_the_decoder_is_the_papers():
    decoder, features = decoder_of(), features_of()
    state = decoder.state_dict()
    c2, c3, c4, c5 = features.maps
    pooled = [
        resize(conv(state, f"pooling.projections.{i}")(F.adaptive_avg_pool2d(c5, cells)), c5)
        for i, cells in enumerate((1, 2, 3, 6))
    ]
    p5 = conv(state, "pooling.bottleneck")(torch.cat([c5, *pooled], 1))
    p4 = conv(state, "laterals.2")(c4) + resize(p5, c4)
    p3 = conv(state, "laterals.1")(c3) + resize(p4, c3)
    p2 = conv(state, "laterals.0")(c2) + resize(p3, c2)
    levels = [conv(state, f"outputs.{i}")(p) for i, p in enumerate((p2, p3, p4))]
    joined = torch.cat([levels[0], *(resize(p, p2) for p in (*levels[1:], p5))], 1)
    fused = conv(state, "fuse")(joined)
    expected = F.conv2d(fused, state["classifier.weight"], state["classifier.bias"])
    output = decoder(features)
    torch.testing.assert_close(output.mask_logits, expected)
    assert (output.stages, output.extras) == ((), {})


def test_the_auxiliary_head_reads_the_second_deepest_level_in_training():
    decoder, features = decoder_of().train(), features_of()
    output = decoder(features)
    extras = output.extras
    assert output.stages == ()
    assert list(extras) == ["auxiliary"]
    assert spatial_size(extras["auxiliary"].mask_logits) == GRIDS[2]
    without = decoder_of(CONFIG.model_copy(update={"auxiliary_dim": None})).train()
    output = without(features)
    assert (output.stages, output.extras) == ((), {})
    assert not any(name.startswith("auxiliary") for name in without.state_dict())


def test_one_image_cannot_be_trained_on():
    with pytest.raises(ConfigError, match=r"use a training\.batch_size of 2 or more"):
        decoder_of().train()(features_of(batch=1))


@torch.inference_mode()
def test_the_pyramid_of_four_taps():
    """Level by level: 4, 2, 1 and 1/2 times the grid, each of its own tap."""
    torch.manual_seed(0)
    pyramid = SimpleFeaturePyramid((6, 8, 10, 12)).eval()
    maps = [torch.randn(2, channels, 3, 5) for channels in (6, 8, 10, 12)]
    levels = pyramid(maps)
    assert [tuple(level.shape[1:]) for level in levels] == [
        (6, 12, 20),
        (8, 6, 10),
        (10, 3, 5),
        (12, 2, 3),
    ]
    torch.testing.assert_close(levels[2], maps[2])
    torch.testing.assert_close(levels[3][..., 0, 0], maps[3][..., :2, :2].amax((2, 3)))
    torch.testing.assert_close(levels[3][..., 1, 2], maps[3][..., 2, 4])  # the odd corner
    for changed in range(4):
        other = [m + (index == changed) for index, m in enumerate(maps)]
        differs = [not torch.equal(a, b) for a, b in zip(levels, pyramid(other), strict=True)]
        assert differs == [index == changed for index in range(4)]


@torch.inference_mode()
def test_the_pyramid_of_one_tap():
    pyramid = SimpleFeaturePyramid((6,)).eval()
    x = torch.randn(2, 6, 4, 4)
    assert [level.shape[-1] for level in pyramid([x])] == [16, 8, 4, 2]
    torch.testing.assert_close(pyramid([x]), pyramid([x] * 4))


def test_a_pyramid_can_be_trained_on_one_token():
    """Its normalisation comes behind a doubling, and so has four values."""
    pyramid = SimpleFeaturePyramid((6,)).train()
    assert pyramid([torch.randn(1, 6, 1, 1)])[0].shape == (1, 6, 4, 4)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ({"name": "test_vit", "taps": [1, 5]}, "of 4 taps or of one, but backbone.taps names 2"),
        (
            {"name": "swin_tiny_patch4_window7_224", "levels": [2]},
            r"joins two or more levels, but backbone.levels names \[2\]",
        ),
    ],
)
def test_contradictions_are_named(backbone, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS["upernet"], {"backbone": backbone})


def test_the_published_model_has_its_size():
    """UPerNet with Swin-T: 60 M parameters, 945 G multiply-adds of an image of 512 x 2048."""
    recipe = load_recipe("ade20k/upernet-swin_tiny_patch4_window7_224")
    with shapes_alone():
        model = recipe.model.build(150, (512, 512), False)
        image = torch.empty(1, 3, 512, 2048)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == 60
    model.eval()
    macs = count_operations(model, lambda: model(image).scores()).macs
    total = sum(sum(part.values()) for part in macs.values())
    assert total / 1e9 == pytest.approx(945, rel=0.01)
