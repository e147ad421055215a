"""Up-sampling queries: which grid they give, what they read, and where the naive masks lie."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.decoders.query_upsampling import (
    QueryUpsampling,
    QueryUpsamplingConfig,
    ShrunkDecoder,
)
from vitseg.errors import ConfigError
from vitseg.features import Features, GridCover
from vitseg.layers.ragged import RaggedTokens
from vitseg.methods.model import SegmentationModel
from vitseg.methods.shrunk import ShrunkConfig
from vitseg.outputs import ClassLogits

ATM = AtmConfig(
    embed_dim=8, num_heads=2, dropout=0, supervise="layers", projection="none", num_layers=2
)


def build(grid: tuple[int, int] = (4, 6), **options) -> QueryUpsampling:
    torch.manual_seed(0)
    return QueryUpsampling((12, 12), grid, QueryUpsamplingConfig(num_layers=1, **options), ATM)


def features_of(grid: tuple[int, int], batch: int = 2) -> Features:
    generator = torch.Generator().manual_seed(1)
    half = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
    maps = tuple(torch.randn(batch, 12, *size, generator=generator) for size in (grid, half))
    size = (16 * grid[0], 16 * grid[1])
    return Features(maps, size, size)


def packed(features: Features) -> Features:
    """The same features, the last tap as packed tokens."""
    half = features.maps[-1].flatten(2).transpose(1, 2)
    batch, length, _ = half.shape
    tokens = RaggedTokens(half.flatten(0, 1), torch.arange(length).repeat(batch), (length,) * batch)
    return Features(features.maps[:1], features.input_size, features.padded_size, (tokens,))


@pytest.mark.parametrize("queries", ["learned", "inherited"])
@pytest.mark.parametrize("grid", [(4, 6), (6, 4), (5, 3), (1, 1)])
@torch.inference_mode()
def test_the_map_has_the_grid_of_the_first_features(queries, grid):
    upsampling = build(queries=queries).eval()
    features = features_of(grid)
    found = upsampling(features)
    assert found.shape == (2, 8, *grid)
    torch.testing.assert_close(upsampling(packed(features)), found, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_queries_are_stored_for_a_grid_and_not_resampled_on_it():
    upsampling = build().eval()
    seen: list[Tensor] = []

    def record(queries, memory):
        seen.append(queries)
        return queries

    upsampling.stages[0].refine = record
    for grid in ((4, 6), (8, 12)):
        upsampling(features_of(grid))
    assert torch.equal(seen[0][1], upsampling.query_embed)
    assert seen[1].shape == (2, 96, 8)


def test_inherited_queries_have_as_many_layers_on_the_last_tap_alone():
    assert [len(stage.layers) for stage in build().stages] == [1, 1]
    inherited = build(queries="inherited")
    assert [len(stage.layers) for stage in inherited.stages] == [2]
    features = features_of((4, 6))
    first = inherited.eval()(features)
    changed = Features((features.maps[0], features.maps[1] + 1), (64, 96), (64, 96))
    assert not torch.allclose(inherited(changed), first)


def test_cross_attention_starts_as_a_packed_projection_does():
    stage = QueryUpsampling((96, 96), (2, 2), QueryUpsamplingConfig(), AtmConfig()).stages[0]
    weights = [
        torch.cat([getattr(layer.cross_attn, part).weight for part in "qkv"])
        for layer in stage.layers
    ]
    bound = (6 / (4 * 48)) ** 0.5  # Xavier-uniform of a (3 x 48, 48) matrix
    assert weights[0].abs().max() <= bound
    assert weights[0].abs().max() > 0.98 * bound
    assert all(torch.equal(weight, weights[0]) for weight in weights)


@torch.inference_mode()
def test_naive_masks_lie_on_the_cells_that_were_kept():
    """On an odd grid the last cell of the half grid reaches a patch beyond the padded image."""
    decoder = ShrunkDecoder(None, AtmDecoder((12,), 3, AtmConfig(embed_dim=8, num_heads=2))).eval()
    features = replace(features_of((5, 3)), cover=GridCover((3, 2), (96, 64)))
    output = decoder(features)
    assert output.mask_logits.shape[-2:] == (3, 2)
    assert output.padded_size == (96, 64)
    assert output.scores().shape == (2, 3, 80, 48)
    backbone = {"name": "test_vit", "pretrained": False, "taps": [5]}
    decoder = {"embed_dim": 64, "projection": "none", "supervise": "layers"}
    raw = {"backbone": backbone, "shrink": {"block": 2}, "upsample": None, "decoder": decoder}
    model = ShrunkConfig.model_validate(raw).build(3, (64, 64)).eval()
    output = model(torch.randn(2, 3, 80, 48))
    assert output.mask_logits.shape[-2:] == (3, 2)
    assert output.padded_size == (96, 64)
    assert output.scores().shape == (2, 3, 80, 48)


@torch.inference_mode()
def test_edge_logits_come_along():
    """Whatever a backbone is trained by goes past the decoder to the model's output."""

    class Backbone(nn.Module):
        def forward(self, images: Tensor) -> Features:
            return replace(plain, extras={"edges": edges})

    decoder = ShrunkDecoder(build(), AtmDecoder((8,), 3, ATM)).eval()
    plain = features_of((4, 6))
    edges = ClassLogits(torch.randn(2, 2, 4, 6), *plain.sizes)
    output = SegmentationModel(Backbone(), decoder)(torch.zeros(2, 3, *plain.input_size))
    assert [stage.name for stage in output.stages] == ["0"]
    assert output.extras.keys() == {"edges"}
    assert output.extras["edges"] is edges


def test_features_of_another_width_need_a_projection():
    with pytest.raises(ConfigError, match='projection "none" takes features of width'):
        AtmDecoder((12,), 3, ATM)
