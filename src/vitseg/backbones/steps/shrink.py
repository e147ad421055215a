"""Query-based down-sampling (QD): a plain ViT whose later blocks run on a quarter of the tokens, or little more.

Source: SegViT (NeurIPS 2022), section 3.3; thesis section 4.2.2 and tables 4.7, 4.9. One block asks for fewer tokens
than it reads: its queries (and residual stream) are the top-left token of every 2 x 2 cells, its keys and values all.
With an edge head (EQD) the tokens on class boundaries stay as well, so that the images of a batch keep different
numbers of tokens; from there on they run as one packed sequence.

Where the papers count the "8th layer", the published weights shrink in block 8, the ninth; `ShrinkConfig.block` is that
0-based index. What no text or code says about EQD, and what we chose: the kept tokens are the queries of the shrinking
block and all tokens its keys, as in QD; the first up-sampling stage reads the map that enters the shrinking block,
which is the embedded image where that is block 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions
from vitseg.backbones.steps.edges import EDGE_HEAD
from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError
from vitseg.features import GridCover
from vitseg.types import Size


class ShrinkConfig(BaseModel):
    """Where and how the tokens become fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: int = Field(ge=0, description="0-based index of the block that returns fewer tokens")
    method: Literal["nearest", "conv", "nearest_qkv"] = Field(
        default="nearest",
        description='what asks in that block: the top-left tokens of every 2 x 2 ("nearest"), a learned 2 x 2 '
        'convolution of the tokens ("conv"); or the top-left tokens are queries, keys and values ("nearest_qkv")',
    )


class Shrink:
    """The step in front of the block that returns fewer tokens: says which it returns, and what asks for them.

    The map that enters the block becomes the first of `Features.maps`; the taps behind it have half the grid (rounded
    up). Where a head has found edges, their tokens stay as well and the taps are ragged.

    Args:
        config: See `ShrinkConfig`.
        conv: Asks, where the method is "conv".
    """

    def __init__(self, config: ShrinkConfig, conv: nn.Conv2d | None):
        self.config = config
        self.conv = conv

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream that the block reads."""
        stream = replace(stream, maps=(*stream.maps, stream.as_map(stream.x)))
        rows = _sparse_rows(stream.positions, stream.x.device)
        if stream.is_edge is not None:
            return self._with_edges(stream, rows)
        half = half_grid(stream.cover.grid)
        patch = tuple(
            side // cells
            for side, cells in zip(stream.cover.padded_size, stream.cover.grid, strict=True)
        )
        cover = GridCover(half, (2 * half[0] * patch[0], 2 * half[1] * patch[1]))
        if self.config.method == "nearest_qkv":
            x, positions = stream.x[:, rows], stream.positions.select(rows)
            return replace(stream, x=x, positions=positions, cover=cover)
        asking = None if self.conv is None else self._convolved(self.conv, stream)
        return replace(stream, rows=rows, asking=asking, cover=cover)

    def _with_edges(self, stream: TokenStream, rows: Int[Tensor, " m"]) -> TokenStream:
        """The packed sequence, and the rows of it that are the edges' and the sparse tokens."""
        x, positions = stream.x, stream.positions
        assert stream.is_edge is not None
        kept = torch.ones(len(x), x.shape[1], dtype=torch.bool, device=x.device)
        kept[:, positions.num_prefix_tokens :] = stream.is_edge
        kept[:, rows] = True
        return replace(
            stream,
            x=x.flatten(0, 1)[None],
            positions=positions.packed(len(x), x.device),
            rows=kept.flatten().nonzero()[:, 0],  # (m,) of all images
        )

    def _convolved(self, conv: nn.Conv2d, stream: TokenStream) -> Float[Tensor, "b m c"]:
        """The grid's tokens by the convolution (an odd grid is padded with zeros), prefix tokens as they are."""
        grid = stream.as_map(stream.x)
        height, width = stream.cover.grid
        grid = conv(nn.functional.pad(grid, (0, width % 2, 0, height % 2)))
        prefix = stream.x[:, : stream.positions.num_prefix_tokens]
        return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], 1)


def add_shrinking(vit: PlainViT, config: ShrinkConfig) -> None:
    """Let a block of a ViT return fewer tokens; with edges, once these have been added.

    Raises:
        ConfigError: There are taps in front of that block, or edges that the method cannot keep.
    """
    if vit.config.taps[0] < config.block:
        raise ConfigError(
            f"backbone.taps {list(vit.config.taps)} begin before shrink.block {config.block}. The map that enters "
            "that block is a feature of its own accord: name the taps behind it only."
        )
    if EDGE_HEAD in vit.added and config.method != "nearest":
        raise ConfigError(
            f'shrink.method "{config.method}" has no tokens that edges could be added to: with edges, use '
            '"nearest".'
        )
    conv = None
    if config.method == "conv":
        conv = nn.Conv2d(vit.embed_dim, vit.embed_dim, 2, stride=2)
        vit.own("shrink", conv)
    vit.step_before(config.block, Shrink(config, conv))


def half_grid(grid: Size) -> Size:
    """Cells that keep a token: every other row and column, beginning with the first."""
    return (grid[0] + 1) // 2, (grid[1] + 1) // 2


def _sparse_rows(positions: TokenPositions, device: torch.device) -> Int[Tensor, " m"]:
    """Rows of the prefix tokens and of the top-left token of every 2 x 2 cells."""
    prefix, (height, width) = positions.num_prefix_tokens, positions.grid
    cells = torch.arange(height * width, device=device).view(height, width)[::2, ::2]
    return torch.cat([torch.arange(prefix, device=device), prefix + cells.flatten()])
