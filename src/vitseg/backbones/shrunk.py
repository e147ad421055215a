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

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones.edge_head import EdgeHead
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.positions import TokenPositions, grid_tokens
from vitseg.errors import ConfigError
from vitseg.types import Features, Size, spatial_size


class ShrinkConfig(BaseModel):
    """Where and how the tokens become fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: int = Field(ge=0, description="0-based index of the block that returns fewer tokens")
    method: Literal["nearest", "conv", "nearest_qkv"] = Field(
        default="nearest",
        description='what asks in that block: the top-left tokens of every 2 x 2 ("nearest"), a learned 2 x 2 '
        'convolution of the tokens ("conv"); or the top-left tokens are queries, keys and values ("nearest_qkv")',
    )


class ShrunkViT(nn.Module):
    """A plain ViT that drops tokens in one block.

    `Features.maps` are the map that enters the shrinking block and the taps behind it, the latter at half the grid
    (rounded up). With an edge head the taps are `Features.ragged` instead, and `Features.aux["edges"]` holds the head's
    logits (no edge, edge) over the grid.

    Attributes:
        channels: Width of each map (or ragged tap), shallow to deep.

    Args:
        vit: The backbone; its taps all lie behind the shrinking block or are that block.
        config: See `ShrinkConfig`.
        edge_head: What says which tokens to keep besides; None: none (QD).
    """

    def __init__(self, vit: PlainViT, config: ShrinkConfig, edge_head: EdgeHead | None = None):
        super().__init__()
        if vit.config.taps[0] < config.block:
            raise ConfigError(
                f"backbone.taps {list(vit.config.taps)} begin before shrink.block {config.block}. The map that enters "
                "that block is a feature of its own accord: name the taps behind it only."
            )
        if edge_head is not None and config.method != "nearest":
            raise ConfigError(
                f'shrink.method "{config.method}" has no tokens that edges could be added to: with edges, use '
                '"nearest".'
            )
        self.vit = vit
        self.config = config
        self.edge_head = edge_head
        self.conv = None
        if config.method == "conv":
            self.conv = nn.Conv2d(vit.embed_dim, vit.embed_dim, 2, stride=2)
        self.embed_dim = vit.embed_dim
        self.patch_size = vit.patch_size
        self.channels = (vit.embed_dim,) * (1 + len(vit.config.taps))

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """Images to the features before and behind the shrinking block; see the class.

        Args:
            images: Normalised images of any height and width.
        """
        x, positions = self.vit.embed(images)
        aux, is_edge = {}, None
        if self.edge_head is not None:
            logits = self.edge_head(x[:, positions.num_prefix_tokens :])  # (b, h*w, 2)
            is_edge = self.edge_head.is_edge(logits)
            aux["edges"] = logits.transpose(1, 2).unflatten(-1, positions.grid)  # (b, 2, h, w)
        maps, ragged = [], []
        for index, block in enumerate(self.vit.blocks):
            if index == self.config.block:
                maps.append(self.vit.as_map(x, positions))
                x, positions = self._shrink(block, x, positions, is_edge)
            else:
                x = self.vit.run(block, x, positions)
            if index in self.vit.config.taps:
                tokens = self.vit.norm(x) if self.vit.config.tap_norm else x
                if positions.lengths is None:
                    maps.append(_half_map(tokens, positions))
                else:
                    ragged.append(grid_tokens(tokens, positions))
        padded_size = self.vit.padded_size(positions.grid)
        return Features(
            tuple(maps), spatial_size(images), padded_size, ragged=tuple(ragged), aux=aux
        )

    def _shrink(
        self,
        block: nn.Module,
        x: Float[Tensor, "b n c"],
        positions: TokenPositions,
        is_edge: Bool[Tensor, "b cells"] | None,
    ) -> tuple[Float[Tensor, "_ m c"], TokenPositions]:
        """Run the shrinking block; its output (packed where tokens are kept by their edges) and where that stands."""
        rows = _sparse_rows(positions, x.device)
        if is_edge is not None:
            kept = torch.ones(len(x), x.shape[1], dtype=torch.bool, device=x.device)
            kept[:, positions.num_prefix_tokens :] = is_edge
            kept[:, rows] = True
            packed = positions.packed(len(x), x.device)
            rows = kept.flatten().nonzero()[:, 0]  # (m,) of all images
            x = self.vit.run(block, x.flatten(0, 1)[None], packed, rows)
            return x, packed.select(rows)
        if self.config.method == "nearest_qkv":
            positions = positions.select(rows)
            return self.vit.run(block, x[:, rows], positions), positions
        queries = None if self.conv is None else self._convolved(self.conv, x, positions)
        return self.vit.run(block, x, positions, rows, queries), positions.select(rows)

    def _convolved(
        self, conv: nn.Conv2d, x: Float[Tensor, "b n c"], positions: TokenPositions
    ) -> Float[Tensor, "b m c"]:
        """The grid's tokens by the convolution (an odd grid is padded with zeros), prefix tokens as they are."""
        grid = self.vit.as_map(x, positions)
        height, width = positions.grid
        grid = conv(nn.functional.pad(grid, (0, width % 2, 0, height % 2)))
        return torch.cat([x[:, : positions.num_prefix_tokens], grid.flatten(2).transpose(1, 2)], 1)


def half_grid(grid: Size) -> Size:
    """Cells that keep a token: every other row and column, beginning with the first."""
    return (grid[0] + 1) // 2, (grid[1] + 1) // 2


def _sparse_rows(positions: TokenPositions, device: torch.device) -> Int[Tensor, " m"]:
    """Rows of the prefix tokens and of the top-left token of every 2 x 2 cells."""
    prefix, (height, width) = positions.num_prefix_tokens, positions.grid
    cells = torch.arange(height * width, device=device).view(height, width)[::2, ::2]
    return torch.cat([torch.arange(prefix, device=device), prefix + cells.flatten()])


def _half_map(x: Float[Tensor, "b m c"], positions: TokenPositions) -> Float[Tensor, "b c h w"]:
    cells = x[:, positions.num_prefix_tokens :].transpose(1, 2)
    return cells.unflatten(-1, half_grid(positions.grid))
