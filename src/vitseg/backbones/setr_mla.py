"""SETR-MLA's neck: the taps of a plain ViT, aggregated from the deepest to the shallowest.

Source: SETR (CVPR 2021), section 3.3 (multi-level feature aggregation), as the published weights compute it. The neck
counts as backbone, not as decoder: it is trained at the backbone's learning rate.
"""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from vitseg.backbones.vit import PlainViT
from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu

WIDTH = 256
"""Channels of each map."""


class MlaBackbone(nn.Module):
    """A plain ViT whose taps are normalised, narrowed, summed from the deepest to the shallowest, and smoothed."""

    def __init__(self, vit: PlainViT):
        super().__init__()
        self.vit = vit
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in vit.channels)
        self.projections = nn.ModuleList(
            ConvBatchNormRelu(width, WIDTH, 1) for width in vit.channels
        )
        self.smoothings = nn.ModuleList(ConvBatchNormRelu(WIDTH, WIDTH, 3) for _ in vit.channels)

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each returned map."""
        return (WIDTH,) * len(self.norms)

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Features:
        """One map per tap, shallow to deep; each holds the deeper taps, too."""
        features = self.vit(images)
        maps = []
        total: Tensor | None = None
        for level in reversed(range(len(self.norms))):
            x = features.maps[level].permute(0, 2, 3, 1)  # (b, h, w, c)
            x = self.projections[level](self.norms[level](x).permute(0, 3, 1, 2))
            total = x if total is None else total + x
            maps.append(self.smoothings[level](total))
        return replace(features, maps=tuple(reversed(maps)))
