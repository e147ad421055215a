"""A token grid that is halved between two blocks: the symmetric baselines of token pruning.

Source: thesis table 5.8. Our choices, where the text says nothing: an odd grid is padded with zeros ("conv"), loses
nothing ("nearest") or averages what there is ("average_pool").
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions
from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.features import GridCover
from vitseg.types import Size, spatial_size


class Halve:
    """The tokens on half the grid, rounded up, each at the place of its top-left one.

    Args:
        kind: "conv", "average_pool" or "nearest".
        conv: The learned one, where the kind is "conv".
    """

    def __init__(self, kind: str, conv: nn.Conv2d | None):
        self.kind = kind
        self.conv = conv

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream with fewer tokens."""
        prefix, (height, width) = stream.positions.num_prefix_tokens, stream.cover.grid
        grid = self._halved(stream.as_map(stream.x))
        half = spatial_size(grid)
        x = torch.cat([stream.x[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)
        covered = stream.cover.padded_size
        down, right = 2 * covered[0] // height, 2 * covered[1] // width
        cover = GridCover(half, (half[0] * down, half[1] * right))
        cells = torch.arange(height * width, device=x.device).view(height, width)[::2, ::2]
        positions = _halved(stream.positions, cells.flatten(), half)
        return replace(stream, x=x, positions=positions, cover=cover)

    def _halved(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        height, width = spatial_size(grid)
        if self.conv is not None:
            return self.conv(F.pad(grid, (0, width % 2, 0, height % 2)))
        if self.kind == "average_pool":
            return F.avg_pool2d(grid, 2, ceil_mode=True, count_include_pad=False)
        return grid[..., ::2, ::2]


def _halved(positions: TokenPositions, cells: Int[Tensor, " n"], half: Size) -> TokenPositions:
    """Where the tokens of the halved grid stand.

    Args:
        positions: Of all tokens in front.
        cells: The top-left cells, counted over the tokens of the grid in front.
        half: The halved grid.
    """
    prefix, rotary = positions.num_prefix_tokens, positions.rotary
    if positions.index is not None:  # of a grid that an earlier step has shrunk
        rows = torch.arange(prefix, device=cells.device)
        return positions.select(torch.cat([rows, prefix + cells]))
    if rotary is not None:
        rotary = torch.cat([rotary[:prefix], rotary[prefix:][cells]])
    return replace(positions, grid=half, rotary=rotary)


def add_halving(vit: PlainViT, block: int, kind: str) -> None:
    """Halve the token grid of a ViT behind a block; see `Halve`."""
    conv = None
    if kind == "conv":
        conv = nn.Conv2d(vit.embed_dim, vit.embed_dim, 2, 2)
        vit.own("halve", conv)
    vit.step_behind(block, Halve(kind, conv))
