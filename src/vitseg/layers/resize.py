"""Feature maps brought to one size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitseg.types import Size


def resize_map(
    x: Float[Tensor, "b c _ _"], size: Size, align_corners: bool = False
) -> Float[Tensor, "b c h w"]:
    """Bilinear resize to (height, width); the map itself where it has that size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def resize_for_gradients(x: Float[Tensor, "b c _ _"], size: Size) -> Float[Tensor, "b c h w"]:
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


def resize_rows(
    maps: Float[Tensor, "b q h w"], size: Size, start: int, stop: int
) -> Float[Tensor, "b q R W"]:
    """Rows [start, stop) of the bilinear resize (align_corners=False) of `maps` to `size`."""
    height = maps.shape[-2]
    if (start, stop) == (0, size[0]) or height == size[0]:
        rows = maps if height != size[0] else maps[..., start:stop, :]
        return resize_map(rows, (stop - start, size[1]))
    position = (torch.arange(start, stop, device=maps.device) + 0.5) * (height / size[0]) - 0.5
    position = position.clamp(min=0)
    above = position.floor().long()
    below = (above + 1).clamp(max=height - 1)
    rows = torch.lerp(
        maps[..., above, :], maps[..., below, :], (position - above).to(maps.dtype)[:, None]
    )
    if maps.is_contiguous(memory_format=torch.channels_last):
        rows = rows.contiguous(memory_format=torch.channels_last)  # indexing has changed the layout
    return resize_map(rows, (stop - start, size[1]))
