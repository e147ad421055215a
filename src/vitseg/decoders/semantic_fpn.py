"""Semantic FPN: every level is convolved and doubled up to stride 4, and all are summed.

Source: Panoptic Feature Pyramid Networks (CVPR 2019), section 4, the segmentation branch alone, on the backbone's maps
without a pyramid network in front, as the published Swin and SeMask models have it. SeMask's semantic decoder, which
has no parameters: the semantic maps of all stages, brought to stride 4 and summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.layers.resize import resize_map
from vitseg.outputs import SEMANTIC, ClassLogits
from vitseg.types import spatial_size


class SemanticFpnConfig(BaseModel):
    """Configuration of `SemanticFpnDecoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(default=256, ge=1, description="width of the convolutions")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="rate at which whole channels are dropped in training"
    )


class SemanticFpnDecoder(nn.Module):
    """Convolutions and doublings of every level, their sum, and a classifier.

    The backbone's semantic maps, if it makes any, become the extra "semantic", in training only.

    Args:
        in_channels: Width of each feature map, shallow to deep; each has half the cells of the one before.
        num_classes: Classes.
        config: See `SemanticFpnConfig`.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, config: SemanticFpnConfig):
        super().__init__()
        width = config.embed_dim
        self.levels = nn.ModuleList(
            nn.ModuleList(
                ConvBatchNormRelu(width if step else channels, width, 3)
                for step in range(max(1, level))
            )
            for level, channels in enumerate(in_channels)
        )
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits at the size of the shallowest map.

        Raises:
            ConfigError: In training, a level of one image and one cell, which cannot be normalised.
        """
        size = spatial_size(features.maps[0])
        total = features.maps[0].new_zeros(())
        for level, (x, convs) in enumerate(zip(features.maps, self.levels, strict=True)):
            for conv in cast(nn.ModuleList, convs):
                x = conv(x)
                if level:
                    x = doubled(x)
            total = total + resize_map(x, size)
        logits = self.classifier(self.dropout(total))
        extras = {}
        if self.training and features.semantic:
            extras[SEMANTIC] = ClassLogits(sum_of_maps(features.semantic), *features.sizes)
        return ClassLogits(logits, *features.sizes, extras=extras)


def full_size_semantic(features: Features) -> dict[str, ClassLogits]:
    """SeMask's semantic decoder in front of set prediction: the output of the semantic maps, by its name.

    The published models of this form align corners everywhere, and go up to the padded image's own size.

    Returns:
        Nothing for a backbone that makes no such maps.
    """
    if not features.semantic:
        return {}
    total = sum_of_maps(features.semantic, align_corners=True)
    full = resize_map(total, features.padded_size, align_corners=True)  # (b, k, H, W)
    return {SEMANTIC: ClassLogits(full, *features.sizes)}


def sum_of_maps(
    maps: Sequence[Float[Tensor, "b k _ _"]], align_corners: bool = False
) -> Float[Tensor, "b k h w"]:
    """Maps, shallow to deep, each doubled as often as it was halved, brought to the first one's size and summed."""
    size = spatial_size(maps[0])
    total = torch.zeros_like(maps[0])
    for level, x in enumerate(maps):
        for _ in range(level):
            x = doubled(x, align_corners)
        total = total + resize_map(x, size, align_corners)
    return total


def doubled(x: Float[Tensor, "b c h w"], align_corners: bool = False) -> Float[Tensor, "b c H W"]:
    """Twice as high and wide, bilinearly."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=align_corners)
