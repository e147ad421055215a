"""Atrous spatial pyramid pooling: what a map's surroundings say, at several distances.

Source: DeepLabV3 (arXiv:1706.05587), section 3.3, and with separable convolutions DeepLabV3+ (ECCV 2018), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers.conv_norm import ConvBatchNormRelu, SeparableConv
from vitseg.layers.resize import resize_map


class AtrousSpatialPyramidPooling(nn.Module):
    """The mean of the whole map, a 1 x 1 and one dilated 3 x 3 convolution per distance, joined by a 3 x 3 convolution.

    Args:
        in_channels: Of the map.
        embed_dim: Of every branch, and of the result.
        dilations: Of the 3 x 3 convolutions, in cells.
        is_separable: Whether they are depthwise separable.
    """

    def __init__(
        self, in_channels: int, embed_dim: int, dilations: Sequence[int], is_separable: bool
    ):
        super().__init__()
        self.pooled = ConvBatchNormRelu(in_channels, embed_dim, 1)
        self.point = ConvBatchNormRelu(in_channels, embed_dim, 1)
        self.dilated = nn.ModuleList(
            SeparableConv(in_channels, embed_dim, dilation)
            if is_separable
            else ConvBatchNormRelu(in_channels, embed_dim, 3, dilation=dilation)
            for dilation in dilations
        )
        self.bottleneck = ConvBatchNormRelu(embed_dim * (len(dilations) + 2), embed_dim, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map with its surroundings.

        Raises:
            ConfigError: In training, one image: its mean has no variance to normalise by.
        """
        pooled = resize_map(self.pooled(x.mean((2, 3), keepdim=True)), (x.shape[2], x.shape[3]))
        branches = [pooled, self.point(x), *(conv(x) for conv in self.dilated)]
        return self.bottleneck(torch.cat(branches, dim=1))
