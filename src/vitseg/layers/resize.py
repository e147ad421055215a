"""Feature maps brought to one size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize_map(
    x: Float[Tensor, "b c _ _"], size: tuple[int, int], align_corners: bool = False
) -> Float[Tensor, "b c h w"]:
    """Bilinear resize to (height, width); the map itself where it has that size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def resize_for_gradients(
    x: Float[Tensor, "b c _ _"], size: tuple[int, int]
) -> Float[Tensor, "b c h w"]:
    """`resize_map` for a loss: on a CPU as two matrix products, whose backward pass is several times as fast.

    The resize is linear along each axis, so a matrix per axis does the same, within rounding.
    """
    has_size = tuple(x.shape[-2:]) == tuple(size)
    if has_size or x.device.type != "cpu" or not x.requires_grad:
        return resize_map(x, size)
    rows, columns = (
        _resize_matrix(cells, pixels, x) for cells, pixels in zip(x.shape[-2:], size, strict=True)
    )
    with torch.autocast("cpu", enabled=False):  # which would round products
        return rows @ (x @ columns.T)


def _resize_matrix(cells: int, pixels: int, like: Tensor) -> Float[Tensor, "p c"]:
    """What each pixel of an axis takes of each cell."""
    identity = torch.eye(cells, dtype=like.dtype, device=like.device)[None]  # (1, channel, cell)
    return F.interpolate(identity, pixels, mode="linear", align_corners=False)[0].T
