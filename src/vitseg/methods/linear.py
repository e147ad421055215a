"""The linear probe: a linear layer on a backbone, which the protocol freezes (DINOv2, 2023)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import AnyBackboneConfig
from vitseg.decoders.linear import LinearConfig, LinearDecoder
from vitseg.methods.method import PixelMethod
from vitseg.supervision import PixelLossConfig


class LinearProbeConfig(PixelMethod):
    """The sections of a linear probe's recipe. Without `training.freeze_backbone` the backbone learns too."""

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps (the last, or the last four; tap_norm: true in the protocol), or the "
        "Swin and its levels"
    )
    decoder: LinearConfig = Field(
        default=LinearConfig(), description="what stands in front of the linear layer"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"), description="cross-entropy of the pixels"
    )

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return LinearDecoder(channels, num_classes, self.decoder)
