"""Pyramid pooling: what a map's surroundings say, as means over grids of several sizes.

Source: PSPNet (CVPR 2017), section 3.2, as the segmentation toolkits compute it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers import products
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.layers.resize import resize_map


class PyramidPooling(nn.Module):
    """Means over ever finer grids, each projected, beside the map itself, joined by a 3 x 3 convolution.

    Args:
        in_channels: Of the map.
        embed_dim: Of every projection, and of the result.
        pool_sizes: Side of each grid, in cells.
    """

    def __init__(self, in_channels: int, embed_dim: int, pool_sizes: Sequence[int]):
        super().__init__()
        self.pool_sizes = tuple(pool_sizes)
        self.projections = nn.ModuleList(
            ConvBatchNormRelu(in_channels, embed_dim, 1) for _ in pool_sizes
        )
        joined = in_channels + embed_dim * len(self.pool_sizes)
        self.bottleneck = ConvBatchNormRelu(joined, embed_dim, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map with its surroundings; cells of a grid finer than the map repeat its values.

        Raises:
            ConfigError: In training, one image, of which a grid of one cell leaves no variance to normalise by.
        """
        size = (x.shape[2], x.shape[3])
        pooled = [
            resize_map(projection(pool_to_grid(x, cells)), size)
            for projection, cells in zip(self.projections, self.pool_sizes, strict=True)
        ]
        return self.bottleneck(torch.cat([x, *pooled], dim=1))


def pool_to_grid(x: Float[Tensor, "b c h w"], cells: int) -> Float[Tensor, "b c s s"]:
    """Means over the cells of a square grid: torch's `adaptive_avg_pool2d`, or the same by two matrix products.

    Args:
        x: The map.
        cells: Side of the grid.
    """
    if not products.are_asked():
        return F.adaptive_avg_pool2d(x, cells)
    down, right = (_pooling_matrix(length, cells, x.device) for length in x.shape[2:])
    return (down @ (x.float() @ right.mT)).to(x.dtype)


def _pooling_matrix(length: int, cells: int, device: torch.device) -> Float[Tensor, "s n"]:
    """What each cell takes of each position: cells overlap by one where they do not divide the length."""
    cell = torch.arange(cells, device=device)[:, None]
    position = torch.arange(length, device=device)
    first, behind = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = ((position >= first) & (position < behind)).float()
    return inside / inside.sum(1, keepdim=True)
