"""UPerNet: pyramid pooling of the deepest map, and a feature pyramid network over all.

Source: UPerNet (ECCV 2018), section 3.1, as the published Swin models compute it: batch normalisation and ReLU behind
every convolution, bilinear resizes without aligned corners, an auxiliary head on the second deepest level in training.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from vitseg.decoders.feature_pyramid import SimpleFeaturePyramid
from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.layers.fcn_head import FcnHead
from vitseg.layers.pyramid_pooling import PyramidPooling
from vitseg.layers.resize import resize_map
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size


class UperNetDecoderConfig(BaseModel):
    """Configuration of `UperNetDecoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(default=512, ge=1, description="width of pooling and pyramid")
    pool_sizes: tuple[int, ...] = Field(
        default=(1, 2, 3, 6),
        min_length=1,
        description="side of each grid, in cells, that the deepest map is pooled to",
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="rate at which whole channels are dropped in training"
    )
    auxiliary_dim: int | None = Field(
        default=256,
        ge=1,
        description="width of the auxiliary head of training, on the second deepest level; null: none",
    )


class UperNetDecoder(nn.Module):
    """Pyramid pooling, top-down sums, and a fusion of all levels at the size of the finest.

    The auxiliary head's output is among the extras as "auxiliary", in training only.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `UperNetDecoderConfig`.
        pyramid: Makes the levels of a plain ViT's maps; None: the backbone's maps are the levels, two or more.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        config: UperNetDecoderConfig,
        pyramid: SimpleFeaturePyramid | None = None,
    ):
        super().__init__()
        self.pyramid = pyramid
        *lower, top = in_channels if pyramid is None else pyramid.channels
        width = config.embed_dim
        self.pooling = PyramidPooling(top, width, config.pool_sizes)
        self.laterals = nn.ModuleList(ConvBatchNormRelu(channels, width, 1) for channels in lower)
        self.outputs = nn.ModuleList(ConvBatchNormRelu(width, width, 3) for _ in lower)
        self.fuse = ConvBatchNormRelu(width * (len(lower) + 1), width, 3)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.auxiliary = None
        if config.auxiliary_dim is not None:
            self.auxiliary = FcnHead(lower[-1], config.auxiliary_dim, num_classes, config.dropout)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits at the size of the finest level; the auxiliary ones in training.

        Raises:
            ConfigError: In training, one image, of which pooling leaves one value per channel.
        """
        levels = features.maps if self.pyramid is None else self.pyramid(features.maps)
        merged = [lateral(x) for lateral, x in zip(self.laterals, levels[:-1], strict=True)]
        merged.append(self.pooling(levels[-1]))
        for deep, shallow in pairwise(reversed(range(len(merged)))):
            merged[shallow] = merged[shallow] + resize_map(
                merged[deep], spatial_size(merged[shallow])
            )
        merged[:-1] = [conv(x) for conv, x in zip(self.outputs, merged[:-1], strict=True)]
        size = spatial_size(merged[0])
        fused = self.fuse(torch.cat([resize_map(x, size) for x in merged], dim=1))
        logits = self.classifier(self.dropout(fused))
        extras = {}
        if self.training and self.auxiliary is not None:
            extras["auxiliary"] = ClassLogits(self.auxiliary(levels[-2]), *features.sizes)
        return ClassLogits(logits, *features.sizes, extras=extras)
