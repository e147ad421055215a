"""Query-based up-sampling (QU): queries of the full token grid collect what the shrunk backbone knows.

Source: SegViT (NeurIPS 2022), section 3.3; thesis section 4.2.2. As in the published weights, it is part of the
decoder: learned queries attend first to the map that entered the shrinking block, then to the last tap, through
standard decoder layers; on the map that they become runs one stage of attention-to-mask layers, each supervised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.decoders.atm import AtmConfig, AtmDecoder, AtmStage, atm_width, init_linear
from vitseg.decoders.atm_layers import AtmLayer
from vitseg.features import Features
from vitseg.layers.grid import GridInterpolation, resample_grid
from vitseg.outputs import QueryMasks
from vitseg.types import Size, spatial_size


class QueryUpsamplingConfig(BaseModel):
    """Configuration of `QueryUpsampling`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: Literal["learned", "inherited"] = Field(
        default="learned",
        description='what asks: queries learned for a grid ("learned"), or the tokens that entered the shrinking '
        'block ("inherited"), which then attend to the last tap alone, through twice the layers',
    )
    num_layers: int = Field(default=3, ge=1, description="decoder layers per feature map")
    interpolation: GridInterpolation = Field(
        default="bicubic", description="how learned queries are resampled to another grid"
    )


class QueryUpsampling(nn.Module):
    """Maps of the shrunk backbone to one map of the full token grid.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        grid: Token grid that learned queries are stored for.
        config: See `QueryUpsamplingConfig`.
        atm: Width, heads, dropout and start, which it shares with the attention-to-mask layers behind it.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        grid: Size,
        config: QueryUpsamplingConfig,
        atm: AtmConfig,
    ):
        super().__init__()
        self.config = config
        self.grid = grid
        embed_dim, num_heads = atm_width(atm, in_channels)
        num_layers, memories = config.num_layers, in_channels
        if config.queries == "learned":
            self.query_embed = nn.Parameter(torch.randn(grid[0] * grid[1], embed_dim))
        else:
            self.query_proj = nn.Linear(in_channels[0], embed_dim)
            self.query_norm = nn.LayerNorm(embed_dim)
            init_linear(self.query_proj, atm.init)
            num_layers, memories = 2 * num_layers, in_channels[1:]
        stage = AtmConfig(dropout=atm.dropout, num_layers=num_layers, init=atm.init)
        self.stages = nn.ModuleList(
            AtmStage(channels, embed_dim, num_heads, stage) for channels in memories
        )
        for stage in self.stages:
            _init_cross_attention(cast(AtmStage, stage))

    def store_grid(self, grid: Size) -> None:
        """Store learned queries for this token grid instead."""
        if self.config.queries == "learned" and grid != self.grid:
            stored = self.query_embed.detach()[None]
            resampled = resample_grid(stored, self.grid, grid, self.config.interpolation)
            self.query_embed = nn.Parameter(resampled[0].clone())
        self.grid = grid

    def forward(self, features: Features) -> Float[Tensor, "b d h w"]:
        """The up-sampled map."""
        first = features.maps[0]
        grid = spatial_size(first)
        memories = [*features.maps, *features.ragged]
        if self.config.queries == "learned":
            stored = resample_grid(
                self.query_embed[None], self.grid, grid, self.config.interpolation
            )
            queries = stored.expand(first.shape[0], -1, -1)
        else:
            queries = self.query_norm(self.query_proj(first.flatten(2).transpose(1, 2)))
            memories = memories[1:]
        for stage, memory in zip(self.stages, memories, strict=True):
            queries = cast(AtmStage, stage).refine(queries, memory)
        return queries.transpose(1, 2).unflatten(-1, grid)


def _init_cross_attention(stage: AtmStage) -> None:
    """Xavier-uniform over queries, keys and values together, as a packed projection starts; alike in every layer."""
    attentions = [cast(AtmLayer, layer).cross_attn for layer in stage.layers]
    width = attentions[0].q.weight.shape[0]
    packed = nn.init.xavier_uniform_(torch.empty(3 * width, width))
    for attention in attentions:
        parts = (attention.q, attention.k, attention.v)
        for part, weight in zip(parts, packed.chunk(3), strict=True):
            part.weight.data.copy_(weight)


class ShrunkDecoder(nn.Module):
    """Up-sampling and attention-to-mask layers behind a ViT that shrinks its token grid (`backbones/steps/shrink.py`).

    Args:
        upsampling: None: the masks stay at half the grid, from the last tap alone (the papers' "naive").
        atm: Of one stage.
    """

    def __init__(self, upsampling: QueryUpsampling | None, atm: AtmDecoder):
        super().__init__()
        self.upsample = upsampling
        self.atm = atm

    def forward(self, features: Features) -> QueryMasks:
        """Features to masks and class logits."""
        if self.upsample is not None:
            return self.atm(replace(features, maps=(self.upsample(features),)))
        # On an odd grid the cells of the last tap reach beyond the padded image, by a patch.
        padded_size = features.deepest.padded_size
        return self.atm(replace(features, maps=features.maps[-1:], padded_size=padded_size))
