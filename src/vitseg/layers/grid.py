"""Tokens that belong to the cells of a grid."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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
    grid = tokens.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, c, h, w)
    mode, _, antialias = interpolation.partition("_")
    grid = F.interpolate(grid, size=new, mode=mode, align_corners=False, antialias=bool(antialias))
    return grid.flatten(2).transpose(1, 2).to(tokens.dtype)  # (1, h*w, c)
