"""Feature maps at other sizes."""

from __future__ import annotations

import pytest
import torch

from vitseg.layers.resize import resize_for_gradients, resize_map

SIZES = [((4, 7), (16, 28)), ((5, 3), (5, 31)), ((1, 1), (6, 2)), ((9, 8), (4, 3))]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_products_resize_as_interpolation_does(before, after):
    x = torch.randn(2, 3, *before, requires_grad=True)
    seen = torch.randn(2, 3, *after)
    wanted = resize_map(x, after)
    (gradient,) = torch.autograd.grad((wanted * seen).sum(), x)
    found = resize_for_gradients(x, after)
    (ours,) = torch.autograd.grad((found * seen).sum(), x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ours, gradient, rtol=1e-5, atol=1e-5)


def test_products_are_not_rounded_by_mixed_precision():
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = resize_for_gradients(x, (16, 16))
    torch.testing.assert_close(found, resize_map(x, (16, 16)))


def test_a_map_of_that_size_is_left_alone():
    x = torch.randn(1, 2, 3, 4, requires_grad=True)
    assert resize_for_gradients(x, (3, 4)) is x


def test_what_needs_no_gradient_is_interpolated():
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(resize_for_gradients(x, (7, 5)), resize_map(x, (7, 5)))
