"""The linear probe and SegFormer's all-MLP head against plain functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitseg.decoders.all_mlp import AllMlpConfig, AllMlpDecoder
from vitseg.decoders.linear import LinearConfig, LinearDecoder
from vitseg.errors import ConfigError
from vitseg.features import Features

CHANNELS, GRIDS = (6, 8, 10), ((8, 12), (4, 6), (3, 3))


def features_of(grids=GRIDS, batch: int = 2) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = [
        3 + torch.randn(batch, channels, *grid, generator=generator)
        for channels, grid in zip(CHANNELS, grids, strict=True)
    ]
    return Features(tuple(maps), (32, 48), (32, 48))


def at_finest(x: Tensor) -> Tensor:
    return F.interpolate(x, GRIDS[0], mode="bilinear", align_corners=False)


def test_the_probe_is_linear_in_the_normalised_maps():
    """In training the statistics are the batch's: every channel has mean 0 and variance 1 before the layer."""
    decoder, features = LinearDecoder(CHANNELS, 5, LinearConfig()).train(), features_of()
    joined = torch.cat([at_finest(x) for x in features.maps], 1)
    mean = joined.mean((0, 2, 3), keepdim=True)
    spread = joined.var((0, 2, 3), unbiased=False, keepdim=True)
    normed = (joined - mean) / (spread + 1e-5).sqrt()
    layer = decoder.classifier
    expected = (
        torch.einsum("bchw,kc->bkhw", normed, layer.weight[..., 0, 0]) + layer.bias[:, None, None]
    )
    torch.testing.assert_close(decoder(features).mask_logits, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_probe_without_norm_reads_the_maps_as_they_are():
    decoder = LinearDecoder(CHANNELS, 5, LinearConfig(norm="none"))
    assert {name for name, _ in decoder.named_parameters()} == {
        "classifier.weight",
        "classifier.bias",
    }
    features = features_of()
    joined = torch.cat([at_finest(x) for x in features.maps], 1)
    torch.testing.assert_close(decoder(features).mask_logits, decoder.classifier(joined))


def test_dropout_drops_whole_channels_in_training():
    config = LinearConfig(norm="none", dropout=0.5)
    decoder, features = LinearDecoder(CHANNELS, 5, config), features_of()
    torch.manual_seed(0)
    first, second = decoder.train()(features).mask_logits, decoder(features).mask_logits
    assert not torch.equal(first, second)
    torch.testing.assert_close(
        decoder.eval()(features).mask_logits, decoder(features).mask_logits, atol=0, rtol=0
    )


def test_one_image_of_one_token_cannot_be_normalised():
    features = features_of(((1, 1),) * 3, batch=1)
    with pytest.raises(ConfigError, match=r"use a training\.batch_size of 2 or more"):
        LinearDecoder(CHANNELS, 5, LinearConfig()).train()(features)
    LinearDecoder(CHANNELS, 5, LinearConfig(norm="none")).train()(features)
    LinearDecoder(CHANNELS, 5, LinearConfig()).eval()(features)


@torch.inference_mode()
def test_the_all_mlp_head_is_the_papers():
    torch.manual_seed(0)
    decoder = AllMlpDecoder(CHANNELS, 5, AllMlpConfig(embed_dim=7)).eval()
    features = features_of()
    levels = []
    for layer, x in zip(decoder.projections, features.maps, strict=True):
        tokens = F.linear(x.flatten(2).mT, layer.weight[..., 0, 0], layer.bias)
        levels.append(at_finest(tokens.mT.unflatten(2, x.shape[-2:])))
    joined = torch.cat([levels[2], levels[1], levels[0]], 1)  # deep to shallow
    fused = decoder.fuse.norm(decoder.fuse.conv(joined)).relu()
    torch.testing.assert_close(decoder(features).mask_logits, decoder.classifier(fused))


def test_the_head_of_b0_has_its_published_size():
    """On the widths of MiT-B0 and 150 classes: with the backbone's 3.3 M, the paper's 3.8 M."""
    decoder = AllMlpDecoder((32, 64, 160, 256), 150, AllMlpConfig(embed_dim=256))
    linear = 256 * (32 + 64 + 160 + 256) + 4 * 256
    fuse = 4 * 256 * 256 + 2 * 256
    assert sum(p.numel() for p in decoder.parameters()) == linear + fuse + 150 * 257
