"""SegViT's decoder: class queries whose attention scores are the masks.

Source: SegViT (NeurIPS 2022), section 3 and figure 2; thesis chapter 4, equations 4.1-4.4 for the two-way form.
Where the text and the published weights differ, the default is what the weights were trained with: three post-norm
layers per stage with self-attention among the class queries, the mask of a stage is its last layer's, N + 1 classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.decoders.atm_layers import AtmLayer, folding_pays, products
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.layers.attention import require_whole_heads
from vitseg.layers.ragged import RaggedTokens
from vitseg.outputs import MixedMasks, PresenceMasks, QueryMasks

HEAD_DIM = 32
"""Channels per attention head in every published model."""

NUM_GROUPS = 32
"""Groups of the neck's GroupNorm in the published Swin model."""

AtmInit = Literal["published", "xavier"]
"""How the linear layers of ATM start."""

INIT = (
    'how linear layers start: with a spread of 0.02 ("published"), or Xavier-uniform ("xavier"), from which masks are '
    "learned sooner"
)


class AtmConfig(BaseModel):
    """Configuration of `AtmDecoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int | None = Field(
        default=None,
        ge=1,
        description="width of queries and memory; half the backbone's where not given",
    )
    num_heads: int | None = Field(
        default=None, ge=1, description="attention heads; one per 32 channels where not given"
    )
    projection: Literal["linear_layernorm", "conv_groupnorm", "none"] = Field(
        default="linear_layernorm",
        description="how a stage brings its features to embed_dim: linear layer and LayerNorm (plain ViT), 1 x 1 "
        "convolution and GroupNorm (the published neck of pyramid backbones), or not at all (embed_dim wide already)",
    )
    num_layers: int = Field(default=3, ge=1, description="decoder layers per stage")
    masks: Literal["attention", "dot_product"] = Field(
        default="attention",
        description="mask logits of a layer: its attention scores, or the product of its final queries, sent through "
        "an MLP, with the memory (MaskFormer's masks; variant 2 of thesis table 4.8)",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout rate in training")
    self_attention: bool = Field(default=True, description="self-attention among the class queries")
    classifier: Literal["classes", "presence"] = Field(
        default="classes",
        description='class logits of a query: "classes" (N + 1, queries mixed by their probabilities) or '
        '"presence" (present / absent, query k is class k: the thesis\' form)',
    )
    supervise: Literal["stages", "layers"] = Field(
        default="stages",
        description='what is supervised: the last layer of each stage, masks summed over stages ("stages"), or '
        'every layer of a single stage, masks not summed ("layers")',
    )
    init: AtmInit = Field(default="published", description=INIT)


class AtmStage(nn.Module):
    """One level of the cascade: the projected features and the layers that read them."""

    def __init__(self, in_channels: int, embed_dim: int, num_heads: int, config: AtmConfig):
        super().__init__()
        self.input_proj, self.input_norm = _projection(config.projection, in_channels, embed_dim)
        layers = [
            AtmLayer(embed_dim, num_heads, config.dropout, config.self_attention)
            for _ in range(config.num_layers)
        ]
        self.layers = nn.ModuleList(layers)
        self.mask_embed = _mask_embed(embed_dim) if config.masks == "dot_product" else None
        self._init_weights(layers, config.init)

    def _init_weights(self, layers: list[AtmLayer], init: AtmInit) -> None:
        """Linear layers as `init` says; self-attention starts Xavier-uniform, the same in every layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_linear(module, init)
        attentions = [layer.self_attn for layer in layers if layer.self_attn is not None]
        for attention in attentions[:1]:
            nn.init.xavier_uniform_(attention.in_proj.weight)
        for attention in attentions[1:]:
            attention.in_proj.weight.data.copy_(attentions[0].in_proj.weight.data)

    def forward(
        self,
        queries: Float[Tensor, "b q c"],
        features: Float[Tensor, "b d h w"],
        every_layer: bool,
    ) -> list[tuple[Float[Tensor, "b q c"], Float[Tensor, "b q h w"]]]:
        """Queries and mask logits after each supervised layer (the last, or every one)."""
        outputs = self._supervised(queries, self._memory(features), every_layer, None)
        return [(queries, mask.unflatten(-1, features.shape[-2:])) for queries, mask in outputs]

    def on_tokens(
        self, queries: Float[Tensor, "b q c"], features: RaggedTokens
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "q n"]]:
        """Queries and mask logits after the last layer, of tokens that are packed."""
        memory = self._read(features.tokens[None])
        ((queries, mask),) = self._supervised(queries, memory, False, features.lengths)
        return queries, mask[0]

    def _supervised(
        self,
        queries: Float[Tensor, "b q c"],
        memory: Float[Tensor, "_ n c"],
        every_layer: bool,
        lengths: tuple[int, ...] | None,
    ) -> list[tuple[Float[Tensor, "b q c"], Float[Tensor, "_ q n"]]]:
        outputs = []
        keys_values = self._keys_values(queries, memory, lengths)
        for index, (layer, (keys, values)) in enumerate(zip(self.layers, keys_values, strict=True)):
            supervised = every_layer or index == len(self.layers) - 1
            from_attention = supervised and self.mask_embed is None
            queries, mask = layer(queries, keys, values, from_attention, lengths)
            if supervised and self.mask_embed is not None:
                mask = products(self.mask_embed(queries), memory, lengths)
            if mask is not None:
                outputs.append((queries, mask))
        return outputs

    def refine(
        self, queries: Float[Tensor, "b q c"], features: Float[Tensor, "b d h w"] | RaggedTokens
    ) -> Float[Tensor, "b q c"]:
        """Queries after all layers, without masks.

        Args:
            queries: (b, q, c).
            features: A map (b, d, h, w), or tokens that are packed where images have different numbers of them.
        """
        if isinstance(features, RaggedTokens):
            lengths, memory = features.lengths, self._read(features.tokens[None])
        else:
            lengths, memory = None, self._memory(features)
        keys_values = self._keys_values(queries, memory, lengths)
        for layer, (keys, values) in zip(self.layers, keys_values, strict=True):
            queries, _ = layer(queries, keys, values, with_mask=False, lengths=lengths)
        return queries

    def _memory(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n c"]:
        if isinstance(self.input_proj, nn.Conv2d):
            return self._read(features).flatten(2).transpose(1, 2)
        return self._read(features.flatten(2).transpose(1, 2))

    def _read(self, features: Tensor) -> Tensor:
        return self.input_norm(self.input_proj(features))

    def _keys_values(
        self, queries: Tensor, memory: Float[Tensor, "b n c"], lengths: tuple[int, ...] | None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """What every layer reads of the memory, see `AttentionToMask`.

        The memory is the same for all layers, so one matrix product projects it for them; few queries read it as it
        is.
        """
        attentions = [cast(AtmLayer, layer).cross_attn for layer in self.layers]
        if lengths is None and folding_pays(queries, attentions[0].num_heads):
            return [(memory, None)] * len(attentions)
        parts = [part for attention in attentions for part in (attention.k, attention.v)]
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        projected = F.linear(memory, weight, bias).chunk(len(parts), dim=-1)
        return list(zip(projected[::2], projected[1::2], strict=True))


def init_linear(layer: nn.Linear, init: AtmInit) -> None:
    """Start a linear layer of ATM.

    With the small spread the first masks are the product of two projections near zero: a saddle that the training
    leaves slowly.
    """
    if init == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


def _projection(kind: str, in_channels: int, embed_dim: int) -> tuple[nn.Module, nn.Module]:
    """The two layers that bring features to `embed_dim`; see `AtmConfig.projection`."""
    if kind == "linear_layernorm":
        return nn.Linear(in_channels, embed_dim), nn.LayerNorm(embed_dim)
    if kind == "conv_groupnorm":
        if embed_dim % NUM_GROUPS:
            raise ConfigError(
                f'decoder.projection "conv_groupnorm" has {NUM_GROUPS} groups of channels, but decoder.embed_dim is '
                f"{embed_dim}: choose a multiple of {NUM_GROUPS}."
            )
        return nn.Conv2d(in_channels, embed_dim, 1), nn.GroupNorm(NUM_GROUPS, embed_dim)
    if in_channels != embed_dim:
        raise ConfigError(
            f'decoder.projection "none" takes features of width decoder.embed_dim, but they are {in_channels} wide '
            f"and decoder.embed_dim is {embed_dim}: make them equal, or choose another projection."
        )
    return nn.Identity(), nn.Identity()


def atm_width(config: AtmConfig, in_channels: tuple[int, ...]) -> tuple[int, int]:
    """Width and number of heads of a decoder: the configured ones, else those of the published models.

    Raises:
        ConfigError: The width is no multiple of the heads.
    """
    embed_dim = config.embed_dim or in_channels[-1] // 2
    num_heads = config.num_heads or max(1, embed_dim // HEAD_DIM)
    require_whole_heads(embed_dim, num_heads)
    return embed_dim, num_heads


def _mask_embed(embed_dim: int) -> nn.Module:
    """Queries to what their masks are the products with: MaskFormer's MLP of three layers.

    The paper names the loss of Segmenter and MaskFormer for this variant and gives no more. MaskFormer's MLP is our
    choice, since its loss is the one used; so is one per stage, since every stage projects its memory for itself.
    """
    layers: list[nn.Module] = [nn.Linear(embed_dim, embed_dim)]
    for _ in range(2):
        layers += [nn.ReLU(), nn.Linear(embed_dim, embed_dim)]
    return nn.Sequential(*layers)


class AtmDecoder(nn.Module):
    """Cascade of attention-to-mask stages, deepest features first (SegViT figure 2).

    The queries leaving a stage enter the next; the mask logits of the stages are summed. The output's `stages`
    are the earlier stages (or layers), named "0", "1", ...

    Args:
        in_channels: Width of each feature map, shallow to deep; one stage per map.
        num_classes: N, the number of queries.
        config: See `AtmConfig`.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, config: AtmConfig):
        super().__init__()
        embed_dim, num_heads = atm_width(config, in_channels)
        if config.supervise == "layers" and len(in_channels) != 1:
            raise ConfigError(
                f'decoder.supervise "layers" takes one tap, but backbone.taps has {len(in_channels)}.'
            )
        self.config = config
        self.query_embed = nn.Embedding(num_classes, embed_dim)
        self.stages = nn.ModuleList(
            AtmStage(channels, embed_dim, num_heads, config) for channels in reversed(in_channels)
        )
        is_presence = config.classifier == "presence"
        self.reading = PresenceMasks if is_presence else MixedMasks
        num_logits = 2 if is_presence else num_classes + 1
        self.class_embed = nn.Linear(embed_dim, num_logits)
        init_linear(self.class_embed, config.init)
        nn.init.normal_(self.query_embed.weight)

    def forward(self, features: Features) -> QueryMasks:
        """Features to masks and class logits."""
        queries = self.query_embed.weight.expand(features.maps[0].shape[0], -1, -1)
        every_layer = self.config.supervise == "layers"
        grid = features.maps[0].shape[-2:]
        outputs: list[QueryMasks] = []
        total: Tensor | None = None
        for stage, feature_map in zip(self.stages, reversed(features.maps), strict=True):
            supervised = stage(queries, feature_map, every_layer)
            for layer_queries, mask in supervised:
                if mask.shape[-2:] != grid:
                    mask = F.interpolate(mask, grid, mode="bilinear", align_corners=False)
                if total is not None and not every_layer:
                    mask = total + mask
                total = mask
                logits = self.class_embed(layer_queries)
                outputs.append(
                    self.reading(mask, *features.sizes, class_logits=logits, name=str(len(outputs)))
                )
            queries = supervised[-1][0]
        final = outputs.pop()
        return replace(final, name="", stages=tuple(outputs))
