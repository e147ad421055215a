"""Feature maps brought to one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
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
    rows, columns = (
        _resize_matrix(cells, pixels, x) for cells, pixels in zip(x.shape[-2:], size, strict=True)
    )
    with torch.autocast("cpu", enabled=False):  # which would round products
        return rows @ (x @ columns.T)


def _resize_matrix(cells: int, pixels: int, like: Tensor) -> Float[Tensor, "p c"]:
    """What each pixel of an axis takes of each cell."""
    identity = torch.eye(cells, dtype=like.dtype, device=like.device)[None]  # (1, channel, cell)
    return F.interpolate(identity, pixels, mode="linear", align_corners=False)[0].T


@dataclass(frozen=True)
class Neighbours:
    """Between which two rows of a map each row of its bilinear resize (align_corners=False) lies.

    Attributes:
        above: The upper one.
        below: The lower one; the same where there is none.
        weight: Of the lower one, in [0, 1].
    """

    above: Int64[Tensor, " R"]
    below: Int64[Tensor, " R"]
    weight: Float32[Tensor, " R"]

    @classmethod
    def of(
        cls, old: int, new: int, start: int, stop: int, device: torch.device | None = None
    ) -> Neighbours:
        """Those of the rows [start, stop).

        Args:
            old: Rows of the map.
            new: Rows of the whole resize.
            start: First row of the resize.
            stop: Row behind the last.
            device: Where the result lies.
        """
        position = (torch.arange(start, stop, device=device) + 0.5) * (old / new) - 0.5
        position = position.clamp(min=0)
        above = position.floor().long()
        return cls(above, (above + 1).clamp(max=old - 1), position - above)

    def to(self, device: torch.device) -> Neighbours:
        """The same on a device."""
        return Neighbours(self.above.to(device), self.below.to(device), self.weight.to(device))

    def span(self) -> tuple[int, int]:
        """Half-open range of the map's rows that are needed."""
        return int(self.above[0]), int(self.below[-1]) + 1

    def blend(self, maps: Float[Tensor, "n _ *rest"], first: int = 0) -> Float[Tensor, "n R *rest"]:
        """The rows of the resize.

        Args:
            maps: Rows of the map, along the second axis.
            first: The map's row that comes first there.
        """
        above, below = (
            maps.index_select(1, rows - first if first else rows)
            for rows in (self.above, self.below)
        )
        weight = self.weight.to(maps.dtype).view(-1, *[1] * (maps.ndim - 2))
        return torch.lerp(above, below, weight)


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
    first, height = held or (0, maps.shape[-2])
    if held is None and (start, stop) == (0, size[0]):
        return resize_map(maps, size)
    if height == size[0]:
        return resize_map(maps[..., start - first : stop - first, :], (stop - start, size[1]))
    near = Neighbours.of(height, size[0], start, stop, maps.device)
    if maps.is_contiguous(memory_format=torch.channels_last):  # and so the rows are, too
        rows = near.blend(maps.permute(0, 2, 3, 1), first).permute(0, 3, 1, 2)
    else:
        rows = near.blend(maps.flatten(0, 1), first).unflatten(0, maps.shape[:2])
    return resize_map(rows, (stop - start, size[1]))
