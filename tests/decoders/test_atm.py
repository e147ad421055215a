"""The ATM decoder beyond its goldens: grids, levels, contradictions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitseg.config import parse
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.decoders.atm_layers import AttentionToMask
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.methods import METHODS


def features_of(*grids: tuple[int, int], channels: int = 24) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(2, channels, *grid, generator=generator) for grid in grids)
    return Features(maps, (64, 96), (64, 96))


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """Those that an initialisation is for: packed projections of self-attention start in a way of their own."""
    return [
        part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and "self_attn" not in name
    ]


def xavier(layer: nn.Linear) -> float:
    return (2 / sum(layer.weight.shape)) ** 0.5


ATM = {"decoder": {"num_heads": 6, "embed_dim": 96}}
TOKEN_HEADS = {"backbone": {"taps": [1, 5]}, **ATM}
SHRUNK = {"backbone": {"taps": [5]}, "shrink": {"block": 2}, **ATM}


@pytest.mark.parametrize(
    ("method", "raw"), [("segvit", ATM), ("dtop", TOKEN_HEADS), ("shrunk", SHRUNK)]
)
@pytest.mark.parametrize("init", ["published", "xavier"])
def test_the_start_of_linear_layers(method, raw, init):
    backbone = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}
    raw = {
        **raw,
        "backbone": {**backbone, **raw.get("backbone", {})},
        "decoder": {**raw["decoder"], "init": init},
    }
    torch.manual_seed(0)
    decoder = parse(METHODS[method], raw).build(12, (64, 64)).decoder
    layers = [layer for layer in linear_layers(decoder) if layer.weight.numel() > 2000]
    assert len(layers) > 10
    for layer in layers:
        expected = 0.02 if init == "published" else xavier(layer)
        # The upsampling's cross-attention is packed in the published models, and starts so in both.
        is_packed = abs(layer.weight.std().item() - (2 / (4 * 96)) ** 0.5) < 0.002
        assert is_packed or layer.weight.std().item() == pytest.approx(expected, rel=0.1)
        assert not layer.bias.any()


def test_masks_are_the_mean_of_the_heads_scores():
    torch.manual_seed(0)
    layer = AttentionToMask(32, 4, dropout=0.0)
    queries, memory = torch.randn(2, 5, 32), torch.randn(2, 12, 32)
    _, mask = layer(queries, layer.k(memory), layer.v(memory), with_mask=True)
    q = layer.q(queries).unflatten(-1, (4, 8)).transpose(1, 2)
    k = layer.k(memory).unflatten(-1, (4, 8)).transpose(1, 2)
    scores = q @ k.transpose(-1, -2) * 8**-0.5
    torch.testing.assert_close(mask, scores.mean(1))


def test_dot_product_masks_are_of_the_final_queries_and_the_memory():
    torch.manual_seed(0)
    config = AtmConfig(embed_dim=16, num_heads=2, num_layers=2, masks="dot_product")
    decoder = AtmDecoder((24, 24), 5, config).eval()
    features = features_of((4, 6), (4, 6))
    queries, total = decoder.query_embed.weight.expand(2, -1, -1), 0.0
    for stage, feature_map in zip(decoder.stages, reversed(features.maps), strict=True):
        memory = stage.input_norm(stage.input_proj(feature_map.flatten(2).transpose(1, 2)))
        for layer in stage.layers:
            attention = layer.cross_attn
            queries, mask = layer(queries, attention.k(memory), attention.v(memory), False)
            assert mask is None
        total = total + stage.mask_embed(queries) @ memory.transpose(1, 2)
    output = decoder(features)
    torch.testing.assert_close(output.mask_logits.flatten(2), total, atol=1e-5, rtol=1e-5)
    linear = [layer for layer in decoder.stages[0].mask_embed if isinstance(layer, nn.Linear)]
    assert len(linear) == 3
    assert all(layer.bias.eq(0).all() for layer in linear)


def test_attention_masks_have_no_layer_of_their_own():
    plain = AtmDecoder((24,), 5, AtmConfig(embed_dim=16, num_heads=2))
    assert not any("mask_embed" in name for name in plain.state_dict())


def test_a_neck_of_convolution_and_group_norm():
    """As the published Swin model: normalised over 32 groups of channels and the whole map."""
    torch.manual_seed(0)
    config = AtmConfig(embed_dim=64, num_layers=1, projection="conv_groupnorm")
    decoder = AtmDecoder((24, 48), 5, config)
    deepest = decoder.stages[0]
    assert isinstance(deepest.input_proj, nn.Conv2d)
    assert (deepest.input_proj.in_channels, deepest.input_proj.kernel_size) == (48, (1, 1))
    x = torch.randn(2, 48, 3, 4)
    mixed = x.flatten(2).transpose(1, 2) @ deepest.input_proj.weight[:, :, 0, 0].T
    mixed = (mixed + deepest.input_proj.bias).unflatten(-1, (32, 2))  # (b, n, groups, 2)
    var, mean = torch.var_mean(mixed, (1, 3), keepdim=True, correction=0)
    expected = ((mixed - mean) / (var + 1e-5).sqrt()).flatten(2)
    found = deepest.input_norm(deepest.input_proj(x)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_transposing_the_grid_transposes_the_masks():
    """Nothing in the decoder knows a token's position, so a non-square grid is only a layout."""
    torch.manual_seed(0)
    decoder = AtmDecoder((24, 24), 5, AtmConfig(embed_dim=16, num_heads=2)).eval()
    features = features_of((4, 6), (4, 6))
    turned = Features(tuple(m.transpose(2, 3) for m in features.maps), (96, 64), (96, 64))
    output, turned_output = decoder(features), decoder(turned)
    torch.testing.assert_close(turned_output.mask_logits, output.mask_logits.transpose(2, 3))
    torch.testing.assert_close(turned_output.class_logits, output.class_logits)


def test_maps_of_several_sizes_are_summed_at_the_finest():
    decoder = AtmDecoder((24, 24, 24), 5, AtmConfig(embed_dim=16, num_heads=2)).eval()
    output = decoder(features_of((8, 12), (4, 6), (2, 3)))
    assert output.mask_logits.shape == (2, 5, 8, 12)
    assert all(stage.mask_logits.shape == (2, 5, 8, 12) for stage in output.stages)
    assert output.extras == {}


def test_the_deepest_map_comes_first():
    decoder = AtmDecoder((8, 24), 5, AtmConfig(embed_dim=16, num_heads=2))
    assert [stage.input_proj.in_features for stage in decoder.stages] == [24, 8]


def test_the_default_width_is_half_the_backbones_with_heads_of_32():
    decoder = AtmDecoder((768,), 5, AtmConfig())
    assert decoder.query_embed.embedding_dim == 384
    assert decoder.stages[0].layers[0].cross_attn.num_heads == 12


@pytest.mark.parametrize(
    ("levels", "config", "message"),
    [
        (1, AtmConfig(embed_dim=30, num_heads=4), "not divisible"),
        (2, AtmConfig(supervise="layers"), "takes one tap"),
        (1, AtmConfig(embed_dim=48, projection="conv_groupnorm"), "choose a multiple of 32"),
        (1, AtmConfig(embed_dim=32, projection="none"), "64 wide .* is 32"),
    ],
)
def test_contradictions(levels, config, message):
    with pytest.raises(ConfigError, match=message):
        AtmDecoder((64,) * levels, 5, config)
