"""Resizes and means by matrix products against torch's own."""

from __future__ import annotations

import pytest
import torch

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
