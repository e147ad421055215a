from __future__ import annotations

import math

import pytest
import torch

from vitseg.inference.blending import window_weights

SIZES = [(1, 1), (2, 3), (8, 8), (65, 32), (1, 20000)]


@pytest.mark.parametrize("kind", ["mean", "cosine"])
@pytest.mark.parametrize("size", SIZES)
def test_weights_are_positive_symmetric_and_one_in_the_middle(size, kind):
    weights = window_weights(size, kind)
    assert weights.shape == size
    assert weights.dtype == torch.float32
    assert weights.min() > 0
    assert weights.max() == 1
    assert weights[size[0] // 2, size[1] // 2] == 1
    assert weights[(size[0] - 1) // 2, (size[1] - 1) // 2] == 1
    torch.testing.assert_close(weights, weights.flip(0, 1), rtol=0, atol=0)


def test_cosine_is_a_hann_window_along_both_axes():
    weights = window_weights((3, 5), "cosine")
    rows = [0.25, 1.0, 0.25]
    columns = [math.sin(math.pi * x / 10) ** 2 for x in (1, 3, 5, 7, 9)]
    expected = torch.tensor([[row * column for column in columns] for row in rows])
    torch.testing.assert_close(weights, expected)


def test_cosine_windows_that_overlap_by_half_add_up_evenly():
    """Away from the borders no pixel counts more than another, so the average is a cross-fade."""
    weights = window_weights((1, 64), "cosine")[0]
    total = weights[:32] + weights[32:]
    torch.testing.assert_close(total, total.mean().expand(32), rtol=1e-4, atol=0)


def test_mean_is_one_everywhere():
    torch.testing.assert_close(window_weights((3, 4), "mean"), torch.ones(3, 4))
