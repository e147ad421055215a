"""Tokens that belong to the cells of a grid."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitseg.layers import products

GridInterpolation = Literal["bicubic_antialias", "bicubic", "bilinear"]


def whole_cells(length: int, cell: int) -> int:
    """Cells that cover a length. Not `-(-length // cell)`: division in ONNX cuts towards zero."""
    return (length + cell - 1) // cell


def resample_grid(
    tokens: Float[Tensor, "1 n c"],
    old: tuple[int, int],
    new: tuple[int, int],
    interpolation: GridInterpolation,
) -> Float[Tensor, "1 m c"]:
    """Tokens of the cells of a grid, row by row, resampled to another grid (align_corners=False).

    Args:
        tokens: Such as position embeddings.
        old: Their grid, (height, width).
        new: The grid wanted.
        interpolation: Of torch's `interpolate`.
    """
    if old == new:
        return tokens
    if not products.are_asked():
        grid = tokens.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, c, h, w)
        mode, _, antialias = interpolation.partition("_")
        grid = F.interpolate(
            grid, size=new, mode=mode, align_corners=False, antialias=bool(antialias)
        )
        return grid.flatten(2).transpose(1, 2).to(tokens.dtype)  # (1, h*w, c)
    grid = tokens.float().unflatten(1, old)[0]  # (h, w, c)
    down, right = (
        _axis_matrix(*lengths, interpolation, grid.device) for lengths in zip(old, new, strict=True)
    )
    grid = torch.einsum("ih,jw,hwc->ijc", down, right, grid)
    return grid.flatten(0, 1)[None].to(tokens.dtype)


def _axis_matrix(
    old: int, new: int, interpolation: GridInterpolation, device: torch.device
) -> Float[Tensor, "new old"]:
    """What each new cell of an axis takes of each old one: rows that sum to 1, those of torch's `interpolate`."""
    cells = torch.arange(old, device=device)
    places = (torch.arange(new, device=device) + 0.5) * (old / new)  # in old cells, from the border
    if interpolation == "bicubic_antialias":
        # shrinking, the function covers as many more cells
        stretch = (torch.ones((), device=device) * (old / new)).clamp(min=1)
        reach = 2 * stretch
        first = (places - reach + 0.5).clamp(min=0).floor()[:, None]
        behind = (places + reach + 0.5).floor()[:, None]
        distance = (cells + 0.5 - places[:, None]) / stretch
        inside = (cells >= first) & (cells < behind)
        weights = torch.where(inside, _cubic(distance, -0.5), 0.0)
        return weights / weights.sum(1, keepdim=True)
    near = (places - 0.5).floor()
    share = (places - 0.5 - near)[:, None]
    taps = range(-1, 3) if interpolation == "bicubic" else range(2)
    weights = torch.zeros(new, old, device=device)
    for tap in taps:
        cell = (near + tap).clamp(min=0).clamp(max=old - 1)
        distance = share - tap
        weight = _cubic(distance, -0.75) if interpolation == "bicubic" else 1 - distance.abs()
        weights = weights + torch.where(cells == cell[:, None], weight, 0.0)
    return weights


def _cubic(distance: Float[Tensor, "n m"], a: float) -> Float[Tensor, "n m"]:
    """Keys' cubic convolution function."""
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
