"""Segmenter's decoders: one linear layer, or a mask transformer whose class tokens meet the patches.

Source: Segmenter (ICCV 2021), section 3.2. Of what the text leaves open, the published weights have: LayerNorm with an
epsilon of 1e-5, both kinds of tokens of unit length, and a LayerNorm over the classes behind their products.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from vitseg.config import given_fields
from vitseg.features import Features
from vitseg.layers.attention import require_whole_heads
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size

HEAD_DIM = 64
"""Channels per attention head in every published model."""


class SegmenterDecoderConfig(BaseModel):
    """Which decoder, and its size; all but `kind` belongs to the mask transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mask", "linear"] = Field(
        default="mask",
        description="mask: class tokens go through transformer blocks with the patches, and a mask is their "
        "similarity; linear: one linear layer per patch",
    )
    embed_dim: int | None = Field(
        default=None, ge=1, description="width; the backbone's where not given"
    )
    num_heads: int | None = Field(
        default=None, ge=1, description="attention heads; one per 64 channels where not given"
    )
    num_layers: int = Field(default=2, ge=1, description="transformer blocks")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="dropout rate of the blocks in training"
    )

    @model_validator(mode="after")
    def _fields_belong_to_mask(self) -> SegmenterDecoderConfig:
        given = given_fields(self, but=("kind",))
        if self.kind == "linear" and given:
            raise ValueError(f'{", ".join(given)} belong to kind "mask": set it, or leave them out')
        return self


class LinearTokenDecoder(nn.Module):
    """One linear layer per patch (Segmenter, "point-wise linear layer")."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_classes, 1)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits over the token grid."""
        logits = self.head(features.maps[-1])
        return ClassLogits(logits, *features.sizes)


class MaskTransformer(nn.Module):
    """Transformer blocks over the patches and one learned token per class.

    Args:
        in_channels: Width of the backbone's tokens.
        num_classes: Classes.
        config: See `SegmenterDecoderConfig`.

    Raises:
        ConfigError: The width is no multiple of the heads.
    """

    def __init__(self, in_channels: int, num_classes: int, config: SegmenterDecoderConfig):
        super().__init__()
        width = config.embed_dim or in_channels
        num_heads = config.num_heads or max(1, width // HEAD_DIM)
        require_whole_heads(width, num_heads)
        self.proj_dec = nn.Linear(in_channels, width)
        self.cls_emb = nn.Parameter(torch.empty(1, num_classes, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                num_heads,
                qkv_bias=True,
                proj_drop=config.dropout,
                attn_drop=config.dropout,
                norm_layer=nn.LayerNorm,  # torch's, with an epsilon of 1e-5: timm's has 1e-6
            )
            for _ in range(config.num_layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.proj_patch = nn.Linear(width, width, bias=False)
        self.proj_classes = nn.Linear(width, width, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)
        self._init_weights()

    def _init_weights(self) -> None:
        """Linear layers and class tokens with a spread of 0.02, the two last projections with 1 / sqrt(width)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls_emb, std=0.02)
        for projection in (self.proj_patch, self.proj_classes):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits over the token grid: cosine of patch and class, normalised over the classes."""
        grid = spatial_size(features.maps[-1])
        patches = self.proj_dec(features.maps[-1].flatten(2).transpose(1, 2))
        num_patches = patches.shape[1]
        x = torch.cat(
            [patches, self.cls_emb.expand(patches.shape[0], -1, -1)], dim=1
        )  # (b, n+k, d)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_norm(x)
        masks = self._similarity(x[:, :num_patches], x[:, num_patches:])
        logits = self.mask_norm(masks).transpose(1, 2).unflatten(-1, grid)  # (b, k, h, w)
        return ClassLogits(logits, *features.sizes)

    def _similarity(
        self, patches: Float[Tensor, "b n d"], classes: Float[Tensor, "b k d"]
    ) -> Float[Tensor, "b n k"]:
        patches = F.normalize(self.proj_patch(patches), dim=-1)
        classes = F.normalize(self.proj_classes(classes), dim=-1)
        return patches @ classes.transpose(1, 2)
