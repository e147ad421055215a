"""DeepLabV3 and DeepLabV3+: surroundings at several distances, and the edges of a shallow map.

Source: DeepLabV3 (arXiv:1706.05587), section 3.3; DeepLabV3+ (ECCV 2018), section 3.1; in the form of the segmentation
toolkits. The bilinear decoder is the baseline of the thesis on NRD (table 3.1): a 1 x 1 convolution on NRD's pooling.
The 1.3 GMACs published for it are those of this convolution behind a resize to stride 4; ours is in front of it, where
it gives the same scores for a sixty-fourth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig
from vitseg.features import Features
from vitseg.layers.aspp import AtrousSpatialPyramidPooling
from vitseg.layers.conv_norm import ConvBatchNormRelu, SeparableConv
from vitseg.layers.resize import resize_map
from vitseg.types import spatial_size

NEAREST = 96
"""The first distance of the pooling, in pixels; the others are twice and three times as far."""


class DeepLabDecoderConfig(PyramidDecoderConfig):
    """Configuration of `DeepLabDecoder`."""

    kind: Literal["v3", "v3plus", "bilinear"] = Field(
        default="v3plus",
        description="v3: pooling and classifier; v3plus: separable pooling, then two separable convolutions on it and "
        "the shallowest level; bilinear: separable pooling and classifier",
    )
    embed_dim: int = Field(default=512, ge=1, description="width of pooling and refinement")
    dilations: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="distances of the pooling (ASPP), in cells of the deepest map; null: 3, 6, 9 at stride 32, 6, 12, "
        "18 at 16 and 12, 24, 36 at 8",
    )
    low_level_dim: int = Field(
        default=48, ge=1, description="channels that v3plus reduces the shallowest level to"
    )

    @model_validator(mode="after")
    def _fields_belong_to_the_kind(self) -> DeepLabDecoderConfig:
        if any(dilation < 1 for dilation in self.dilations or ()):
            raise ValueError(f"dilations must be 1 or more, got {list(self.dilations or ())}")
        default = type(self).model_fields["low_level_dim"].default
        if self.kind != "v3plus" and self.low_level_dim != default:
            raise ValueError('low_level_dim belongs to kind "v3plus": set it, or leave it out')
        return self


class DeepLabDecoder(PyramidDecoder):
    """Atrous spatial pyramid pooling of the deepest map; in v3plus refined at the size of the shallowest.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `DeepLabDecoderConfig`.
        stride: Of the deepest map, in pixels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        config: DeepLabDecoderConfig,
        stride: int = 32,
    ):
        super().__init__(in_channels, num_classes, config)
        width = config.embed_dim
        self.context = AtrousSpatialPyramidPooling(
            in_channels[-1],
            width,
            config.dilations or default_dilations(stride),
            is_separable=config.kind != "v3",
        )
        self.low_level = None
        self.refine: nn.Module = nn.Identity()
        if config.kind == "v3plus":
            low = config.low_level_dim
            self.low_level = ConvBatchNormRelu(in_channels[0], low, 1)
            self.refine = nn.Sequential(
                SeparableConv(width + low, width), SeparableConv(width, width)
            )
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at the size of the shallowest map (v3plus) or of the deepest."""
        x = self.context(features.maps[-1])
        if self.low_level is not None:
            low_level = self.low_level(features.maps[0])
            x = torch.cat([resize_map(x, spatial_size(low_level)), low_level], dim=1)
        return self.classifier(self.dropout(self.refine(x)))


def default_dilations(stride: int) -> tuple[int, int, int]:
    """The papers' distances, which are the same in pixels: 3, 6, 9 cells at stride 32 and 12, 24, 36 at 8."""
    cells = max(1, NEAREST // stride)
    return cells, 2 * cells, 3 * cells
