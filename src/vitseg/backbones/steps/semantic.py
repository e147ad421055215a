"""SeMask's semantic layers in a plain ViT. Nobody has published this: what follows is ours.

In a Swin the layer stands at the end of a stage, and what it passes on is normalised (SeMask, ICCV workshops 2023). In
the middle of a plain ViT that would throw away the residual stream on which the pretrained blocks rely, so here the
tokens go on as they are, with what the layer adds to them: nothing, at the start of a training.

Where tokens have left the stream, those of an image that are left exchange what they are among themselves, and the
semantic map is 0 where none stands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError
from vitseg.layers.semantic_attention import SemanticAttention
from vitseg.outputs import SEMANTIC, ClassLogits


class SemanticBlocksConfig(BaseModel):
    """Where the semantic layers stand."""

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


class SemanticStep:
    """A semantic layer over the tokens of the grid; prefix tokens take no part.

    In training the sum of the layers' semantic maps, class logits, is the extra "semantic".

    Args:
        attention: The layer.
    """

    def __init__(self, attention: SemanticAttention):
        self.attention = attention

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream, with what tokens get from their like."""
        if stream.is_packed:
            x, semantic = self._packed(stream)
        else:
            num_prefix = stream.positions.num_prefix_tokens
            prefix, cells = stream.x[:, :num_prefix], stream.x[:, num_prefix:]
            change, semantic = self.attention.attend(self.attention.norm(cells))
            cells = self.attention.add(cells, change)
            x = torch.cat([prefix, cells], dim=1) if num_prefix else cells
            semantic = semantic.mT.unflatten(2, stream.cover.grid)  # (b, k, h, w)
        stream = replace(stream, x=x)
        return self._recorded(stream, semantic) if stream.training else stream

    def _packed(
        self, stream: TokenStream
    ) -> tuple[Float[Tensor, "1 n c"], Float[Tensor, "b k h w"]]:
        positions = stream.positions
        assert positions.index is not None
        rows = (positions.index >= positions.num_prefix_tokens).nonzero()[:, 0]
        tokens = stream.grid_tokens(stream.x)
        attended = [
            self.attention.attend(self.attention.norm(own[None]))
            for own in tokens.tokens.split(tokens.lengths)
        ]
        change = torch.cat([change[0] for change, _ in attended])
        x = stream.x.index_copy(1, rows, self.attention.add(tokens.tokens, change)[None])
        found = torch.cat([semantic[0] for _, semantic in attended])  # (n, k)
        height, width = stream.cover.grid
        canvas = found.new_zeros(stream.batch_size * height * width, found.shape[1])
        canvas = canvas.index_copy(0, tokens.rows(height * width), found)
        return x, canvas.view(stream.batch_size, height, width, -1).permute(0, 3, 1, 2)

    def _recorded(self, stream: TokenStream, semantic: Float[Tensor, "b k h w"]) -> TokenStream:
        before = stream.extras.get(SEMANTIC)
        if before is not None:
            semantic = before.mask_logits + semantic
        output = ClassLogits(semantic, stream.input_size, stream.cover.padded_size)
        return replace(stream, extras={**stream.extras, SEMANTIC: output})


def add_semantic_layers(vit: PlainViT, config: SemanticBlocksConfig, num_classes: int) -> None:
    """Put semantic layers behind some blocks of a ViT.

    Args:
        vit: The backbone.
        config: See `SemanticBlocksConfig`.
        num_classes: Classes.

    Raises:
        ConfigError: A layer would stand behind the deepest tap.
    """
    deepest = vit.config.taps[-1]
    if config.blocks[-1] > deepest:
        raise ConfigError(
            f"semantic.blocks names block {config.blocks[-1]}, but backbone.taps ends with block {deepest}: a "
            "layer behind it would reach no output."
        )
    for block in config.blocks:
        layer = SemanticAttention(vit.embed_dim, num_classes)
        vit.own(f"{SEMANTIC}.{block}", layer)
        vit.step_behind(block, SemanticStep(layer))
