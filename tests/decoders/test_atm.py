"""The ATM decoder beyond its goldens: grids, levels, contradictions."""

from __future__ import annotations

import pytest
import torch

from vitseg.decoders.atm import AtmConfig, AtmDecoder, AttentionToMask
from vitseg.errors import ConfigError
from vitseg.types import Features


def features_of(*grids: tuple[int, int], channels: int = 24) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(2, channels, *grid, generator=generator) for grid in grids)
    return Features(maps, (64, 96), (64, 96))


def test_masks_are_the_mean_of_the_heads_scores():
    torch.manual_seed(0)
    layer = AttentionToMask(32, 4, dropout=0.0)
    queries, memory = torch.randn(2, 5, 32), torch.randn(2, 12, 32)
    _, mask = layer(queries, layer.k(memory), layer.v(memory), with_mask=True)
    q = layer.q(queries).unflatten(-1, (4, 8)).transpose(1, 2)
    k = layer.k(memory).unflatten(-1, (4, 8)).transpose(1, 2)
    scores = q @ k.transpose(-1, -2) * 8**-0.5
    torch.testing.assert_close(mask, scores.mean(1))


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
    assert all(stage.mask_logits.shape == (2, 5, 8, 12) for stage in output.aux.values())


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
    ],
)
def test_contradictions(levels, config, message):
    with pytest.raises(ConfigError, match=message):
        AtmDecoder((64,) * levels, 5, config)
