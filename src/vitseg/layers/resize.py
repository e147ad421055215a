"""Feature maps brought to one size."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitseg.types import Size


class HeldRows(NamedTuple):
    """Which rows of maps are there, where not all are.

    Attributes:
        first: The first.
        height: How many the whole maps have.
    """

    first: int
    height: int


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
    return resize_at(x, size)


def resize_at(
    x: Float[Tensor, "b c _ _"],
    size: Size,
    rows: Int[Tensor, " h"] | None = None,
    columns: Int[Tensor, " w"] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Some rows and columns of `resize_map(x, size)`, within rounding; the others are not computed.

    Args:
        x: The maps.
        size: (height, width) of the whole resize.
        rows: Those wanted; None: all.
        columns: Those wanted; None: all.
    """
    of_rows, of_columns = (
        _resize_matrix(cells, pixels, x) for cells, pixels in zip(x.shape[-2:], size, strict=True)
    )
    of_rows = of_rows if rows is None else of_rows[rows]
    of_columns = of_columns if columns is None else of_columns[columns]
    with torch.autocast(x.device.type, enabled=False):  # which would round products
        return of_rows @ (x @ of_columns.T)


def _resize_matrix(cells: int, pixels: int, like: Tensor) -> Float[Tensor, "p c"]:
    """What each pixel of an axis takes of each cell."""
    identity = torch.eye(cells, dtype=like.dtype, device=like.device)[None]  # (1, channel, cell)
    return F.interpolate(identity, pixels, mode="linear", align_corners=False)[0].T


def needed_rows(old: int, new: int, start: int, stop: int) -> tuple[int, int]:
    """Half-open range of a map's rows that the rows [start, stop) of its bilinear resize are made of.

    Args:
        old: Rows of the map.
        new: Rows of the whole resize.
        start: First row of the resize.
        stop: Row behind the last.
    """
    first, last = ((row + 0.5) * old / new - 0.5 for row in (start, stop - 1))
    rounding = 1e-6 * old  # of the places in float32, which may lie on the other side of a row
    return max(0, int(first - rounding)), min(old, int(max(0.0, last + rounding)) + 2)


def blend_rows(
    maps: Float[Tensor, "n _ *rest"], held: HeldRows, new: int, start: int, stop: int
) -> Float[Tensor, "n R *rest"]:
    """Rows [start, stop) of the bilinear resize (align_corners=False) along the second axis.

    Args:
        maps: Rows of the map, those needed at least.
        held: Which they are.
        new: Rows of the whole resize.
        start: First row.
        stop: Row behind the last.
    """
    first, old = held
    position = (torch.arange(start, stop, device=maps.device) + 0.5) * (old / new) - 0.5
    position = position.clamp(min=0)
    above = position.floor().long()
    below = (above + 1).clamp(max=old - 1)
    weight = (position - above).to(maps.dtype).view(-1, *[1] * (maps.ndim - 2))
    if first:
        above, below = above - first, below - first
    return torch.lerp(maps.index_select(1, above), maps.index_select(1, below), weight)


def resize_rows(
    maps: Float[Tensor, "b q h w"],
    size: Size,
    start: int,
    stop: int,
    held: HeldRows | None = None,
) -> Float[Tensor, "b q R W"]:
    """Rows [start, stop) of the bilinear resize (align_corners=False) of `maps` to `size`.

    Args:
        maps: The maps.
        size: (height, width) of the whole resize.
        start: First row.
        stop: Row behind the last.
        held: Which rows of the whole maps are given, if not all; those needed are among them.
    """
    height = maps.shape[-2] if held is None else held.height
    if held is None and (start, stop) == (0, size[0]):
        return resize_map(maps, size)
    held = held or HeldRows(0, height)
    if height == size[0]:
        rows = maps[..., start - held.first : stop - held.first, :]
    elif maps.is_contiguous(memory_format=torch.channels_last):  # and so the rows are, too
        pixels = maps.permute(0, 2, 3, 1)  # (b, h, w, q)
        rows = blend_rows(pixels, held, size[0], start, stop).permute(0, 3, 1, 2)
    else:
        rows = blend_rows(maps.flatten(0, 1), held, size[0], start, stop)
        rows = rows.unflatten(0, maps.shape[:2])
    return resize_map(rows, (stop - start, size[1]))
