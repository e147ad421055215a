"""MaskFormer's decoders: pixels by a feature pyramid, queries by a transformer over the deepest map.

Source: MaskFormer (NeurIPS 2021), section 3.3, with the decoder of DETR (ECCV 2020). The layers are the transformers
library's. Its own loop over them normalises what goes on to the next layer where the outputs of all are wanted, which
the papers do not; the loop here does not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.decoders.semantic_fpn import full_size_semantic
from vitseg.features import Features
from vitseg.layers.transformer_init import init_attention, init_convolutions, init_transformer
from vitseg.layers.transformers_library import transformers_needed
from vitseg.outputs import MixedMasks

NUM_HEADS = 8


class MaskFormerDecoderConfig(BaseModel):
    """Configuration of `MaskFormerDecoder`. The defaults are those of the paper's semantic segmentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(
        default=256,
        ge=64,
        multiple_of=64,
        description="width of pixels and queries: 8 heads, and two channels or more in each of 32 normalised groups",
    )
    num_queries: int = Field(default=100, ge=1, description="learned queries (the paper: 100)")
    num_layers: int = Field(default=6, ge=1, description="layers of the transformer decoder")
    feedforward_dim: int = Field(default=2048, ge=1, description="width within their MLPs")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="rate in these layers")


class MaskFormerDecoder(nn.Module):
    """Class and mask of every query.

    In training the output's `stages` are the predictions in front of all layers but the first, named "layer_1", ...,
    and that of the backbone's semantic maps, if it makes any, is the extra "semantic".

    Args:
        in_channels: Width of the maps, two or more, shallow to deep.
        num_classes: Classes.
        config: See `MaskFormerDecoderConfig`.

    Raises:
        ConfigError: The transformers library is not there.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, config: MaskFormerDecoderConfig
    ):
        super().__init__()
        with transformers_needed("MaskFormer"):
            from transformers.models.maskformer.modeling_maskformer import (
                MaskformerMLPPredictionHead,
                MaskFormerPixelDecoder,
                MaskFormerSinePositionEmbedding,
            )
        width = config.embed_dim
        self.pixel_decoder = MaskFormerPixelDecoder(
            in_features=in_channels[-1],
            lateral_widths=list(in_channels[:-1]),
            feature_size=width,
            mask_feature_size=width,
        )
        self.input_proj = nn.Conv2d(in_channels[-1], width, 1)
        self.positions = MaskFormerSinePositionEmbedding(width // 2, normalize=True)
        self.query_embed = nn.Embedding(config.num_queries, width)
        self.layers = decoder_layers(config)
        self.norm = nn.LayerNorm(width)
        self.class_embed = nn.Linear(width, num_classes + 1)
        self.mask_embed = MaskformerMLPPredictionHead(width, width, width)
        init_convolutions(self.pixel_decoder)
        init_transformer(self.input_proj)
        nn.init.zeros_(cast(Tensor, self.input_proj.bias))

    def forward(self, features: Features) -> MixedMasks:
        """Classes, and masks at the size of the shallowest map."""
        pixels = self.pixel_decoder(list(features.maps)).last_hidden_state  # (b, c, h, w)
        outputs = [
            MixedMasks(
                torch.einsum("bqc,bchw->bqhw", self.mask_embed(queries), pixels),
                *features.sizes,
                class_logits=self.class_embed(queries),
                name=f"layer_{index}",
            )
            for index, queries in enumerate(self._decoded(features.maps[-1]), start=1)
        ]
        *early, last = outputs
        extras = full_size_semantic(features) if self.training else {}
        return replace(last, name="", stages=tuple(early), extras=extras)

    def _decoded(self, deepest: Float[Tensor, "b _ h w"]) -> list[Float[Tensor, "b q c"]]:
        """Queries behind every layer, normalised; in evaluation behind the last alone."""
        cells = self.input_proj(deepest)
        positions = self.positions(cells.shape, cells.device, cells.dtype).flatten(2).mT
        cells = cells.flatten(2).mT  # (b, h*w, c)
        query_positions = self.query_embed.weight.expand(cells.shape[0], -1, -1)
        queries = torch.zeros_like(query_positions)
        found = []
        for layer in self.layers:
            queries = layer(queries, None, positions, query_positions, cells)
            found.append(queries)
        return [self.norm(queries) for queries in (found if self.training else found[-1:])]


def decoder_layers(config: MaskFormerDecoderConfig) -> nn.ModuleList:
    """The library's layers: self-attention, attention to the map, MLP, each normalised behind its sum."""
    from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig
    from transformers.models.maskformer.modeling_maskformer import MaskFormerDetrDecoderLayer

    settings = MaskFormerDetrConfig(
        d_model=config.embed_dim,
        decoder_attention_heads=NUM_HEADS,
        decoder_ffn_dim=config.feedforward_dim,
        dropout=config.dropout,
        attention_dropout=config.dropout,
        activation_dropout=config.dropout,
    )
    settings._attn_implementation = "sdpa"  # what a whole model of the library would choose
    layers = nn.ModuleList(MaskFormerDetrDecoderLayer(settings) for _ in range(config.num_layers))
    init_transformer(layers)
    for layer in cast(Sequence[MaskFormerDetrDecoderLayer], layers):
        for attention in (layer.self_attn, layer.encoder_attn):
            init_attention(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return layers
