"""What graphs are traced by against what runs otherwise: resizes and means by matrix products, places of any size."""

from __future__ import annotations

import pytest
import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3

from vitseg.backbones.positions import TokenPositions, relative_bias, rotary_table
from vitseg.layers.feature_alignment import FeatureAlignment
from vitseg.layers.grid import resample_grid
from vitseg.layers.products import are_asked, by_products
from vitseg.layers.pyramid_pooling import pool_to_grid
from vitseg.layers.semantic_attention import attend_alike

GRIDS = [((14, 14), (1, 1)), ((14, 14), (20, 9)), ((5, 24), (33, 7)), ((1, 5), (4, 3))]


@pytest.mark.parametrize("interpolation", ["bicubic_antialias", "bicubic", "bilinear"])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_grids_are_resampled_alike(old, new, interpolation):
    tokens = torch.randn(1, old[0] * old[1], 6, generator=torch.Generator().manual_seed(0))
    expected = resample_grid(tokens, old, new, interpolation)
    with by_products():
        found = resample_grid(tokens, old, new, interpolation)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not are_asked()


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(1, 1), (7, 4), (12, 33)])
def test_maps_are_pooled_alike(size, cells):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = pool_to_grid(x, cells)
    with by_products():
        torch.testing.assert_close(pool_to_grid(x, cells), expected)


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (7, 4), (12, 33)])
def test_moved_points_are_convolved_alike(size):
    """Far beyond the border, too."""
    torch.manual_seed(0)
    layer = FeatureAlignment(64)
    layer.move.weight.normal_(std=0.3)
    layer.move.bias.normal_(std=2)
    fine, coarse = torch.randn(2, 2, 64, *size)
    expected = layer(fine, coarse)
    with by_products():
        torch.testing.assert_close(layer(fine, coarse), expected, atol=1e-5, rtol=1e-5)


def test_all_queries_attend_at_once(monkeypatch):
    q, k, v = torch.randn(2, 11, 3), torch.randn(2, 11, 3), torch.randn(2, 11, 5)
    monkeypatch.setattr("vitseg.layers.semantic_attention.SCORE_ELEMENTS", 25)
    expected = attend_alike(q, k, v)
    with by_products():
        torch.testing.assert_close(attend_alike(q, k, v), expected)


@pytest.mark.parametrize("grid", [(1, 3), (14, 14), (14, 5), (20, 33)])
@pytest.mark.parametrize("prefix", [0, 1])
def test_relative_biases_are_resampled_alike(grid, prefix):
    """To the table's own grid, too, which leaves it as it is."""
    table = torch.randn(27 * 27 + 3, 4, generator=torch.Generator().manual_seed(0))
    positions = TokenPositions(grid, prefix)
    expected = relative_bias(table, (14, 14), positions, positions)
    with by_products():
        found = relative_bias(table, (14, 14), positions, positions)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("normalize_coords", ["separate", "min", "max"])
@pytest.mark.parametrize("layout", [{}, {"rotate_half": False, "grid_indexing": "xy"}])
@pytest.mark.parametrize("grid", [(1, 3), (5, 1), (20, 33)])
def test_rotary_tables_are_alike(grid, layout, normalize_coords):
    rope = RotaryEmbeddingDinoV3(16, normalize_coords=normalize_coords, grid_offset=0.1, **layout)
    expected = rotary_table(rope, grid)
    with by_products():
        torch.testing.assert_close(rotary_table(rope, grid), expected, atol=1e-5, rtol=0)
