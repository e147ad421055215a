"""SeMask's semantic layers in a plain ViT. Nobody has published this: what follows is ours.

In a Swin the layer stands at the end of a stage, and what it passes on is normalised (SeMask, ICCV workshops 2023). In
the middle of a plain ViT that would throw away the residual stream on which the pretrained blocks rely, so here the
tokens go on as they are, with what the layer adds to them: nothing, at the start of a training.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.positions import TokenPositions
from vitseg.errors import ConfigError
from vitseg.layers.semantic_attention import SemanticAttention
from vitseg.types import Features, spatial_size


class SemanticBlocksConfig(BaseModel):
    """Configuration of `SemanticViT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: tuple[int, ...] = Field(
        min_length=1, description="0-based blocks behind which a semantic layer stands"
    )

    @model_validator(mode="after")
    def _blocks_increase(self) -> SemanticBlocksConfig:
        blocks = list(self.blocks)
        if blocks != sorted(set(blocks)) or blocks[0] < 0:
            raise ValueError(f"blocks must be increasing block indices from 0, got {blocks}")
        return self


class SemanticViT(nn.Module):
    """A plain ViT with semantic layers behind some blocks, over the whole grid; prefix tokens take no part.

    `Features.aux` holds their semantic maps, class logits, as "block_5" and so on.

    Args:
        vit: The backbone.
        config: See `SemanticBlocksConfig`.
        num_classes: Classes.
    """

    def __init__(self, vit: PlainViT, config: SemanticBlocksConfig, num_classes: int):
        super().__init__()
        deepest = vit.config.taps[-1]
        if config.blocks[-1] > deepest:
            raise ConfigError(
                f"semantic.blocks names block {config.blocks[-1]}, but backbone.taps ends with block {deepest}: a "
                "layer behind it would reach no output."
            )
        self.vit = vit
        self.channels = vit.channels
        self.semantic = nn.ModuleDict(
            {str(block): SemanticAttention(vit.embed_dim, num_classes) for block in config.blocks}
        )

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """Taps behind the semantic layers, and the semantic maps.

        Args:
            images: Normalised images of any height and width.
        """
        vit = self.vit
        x, positions = vit.embed(images)
        taps, aux = [], {}
        for index, block in enumerate(vit.blocks):
            x = vit.run(block, x, positions)
            if str(index) in self.semantic:
                layer = cast(SemanticAttention, self.semantic[str(index)])
                x, aux[f"block_{index}"] = _with_semantics(layer, x, positions)
            if index in vit.config.taps:
                taps.append(vit.as_map(vit.norm(x), positions))
        padded_size = vit.padded_size(positions.grid)
        return Features(tuple(taps), spatial_size(images), padded_size, aux=aux)


def _with_semantics(
    layer: SemanticAttention, x: Float[Tensor, "b n c"], positions: TokenPositions
) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b k h w"]]:
    num_prefix = positions.num_prefix_tokens
    prefix, cells = x[:, :num_prefix], x[:, num_prefix:]
    change, semantic = layer.attend(layer.norm(cells))
    cells = layer.add(cells, change)
    x = torch.cat([prefix, cells], dim=1) if num_prefix else cells
    return x, semantic.mT.unflatten(2, positions.grid)
