"""Convolutions and a classifier of every cell: FCN's head, which trains many others as an auxiliary.

Source: FCN (CVPR 2015), in the form of the segmentation toolkits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers.conv_norm import ConvBatchNormRelu


class FcnHead(nn.Module):
    """3 x 3 convolutions and a linear classifier on a map of the backbone.

    Args:
        in_channels: Of the map.
        embed_dim: Of the convolutions.
        num_classes: Classes.
        dropout: Rate at which whole channels are dropped in training.
        num_convs: Convolutions.
        joins_input: Whether one more convolution reads the map again, beside what the others made of it.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        num_classes: int,
        dropout: float,
        num_convs: int = 1,
        joins_input: bool = False,
    ):
        super().__init__()
        self.convs = nn.Sequential(
            *(
                ConvBatchNormRelu(embed_dim if index else in_channels, embed_dim, 3)
                for index in range(num_convs)
            )
        )
        self.join = None
        if joins_input:
            self.join = ConvBatchNormRelu(in_channels + embed_dim, embed_dim, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(embed_dim, num_classes, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Class logits."""
        described = self.convs(x)
        if self.join is not None:
            described = self.join(torch.cat([x, described], dim=1))
        return self.classifier(self.dropout(described))
