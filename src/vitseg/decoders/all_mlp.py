"""SegFormer's decoder of linear layers alone.

Source: SegFormer (NeurIPS 2021), section 3.2, eq. 4. The batch normalisation and the ReLU behind the fusing layer are
not in the equation, but in the published models.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.layers.resize import resize_map
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size


class AllMlpConfig(BaseModel):
    """Configuration of `AllMlpDecoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(
        default=256,
        ge=1,
        description="width that every level is brought to (the published models: 256 for B0 and B1, 768 for B2 to B5)",
    )
    projection: Literal["linear", "convolution"] = Field(
        default="linear",
        description="what brings a level to that width: a linear layer, or, as in mmsegmentation, a convolution of "
        "1 x 1 with batch normalisation and ReLU",
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="rate at which whole channels are dropped in training"
    )


class AllMlpDecoder(nn.Module):
    """A linear layer per level, all levels at the size of the finest, concatenated, fused and classified.

    On a plain ViT all taps have one size, so that nothing is resized.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `AllMlpConfig`.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, config: AllMlpConfig):
        super().__init__()
        layer = nn.Conv2d if config.projection == "linear" else ConvBatchNormRelu
        self.projections = nn.ModuleList(
            layer(channels, config.embed_dim, 1) for channels in in_channels
        )
        self.fuse = ConvBatchNormRelu(config.embed_dim * len(in_channels), config.embed_dim, 1)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(config.embed_dim, num_classes, 1)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits at the size of the finest map."""
        size = spatial_size(features.maps[0])
        levels = [
            resize_map(projection(level), size)
            for projection, level in zip(self.projections, features.maps, strict=True)
        ]
        fused = self.fuse(torch.cat(levels[::-1], dim=1))  # deep to shallow, as published
        logits = self.classifier(self.dropout(fused))
        return ClassLogits(logits, *features.sizes)
