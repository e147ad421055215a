"""FCN (CVPR 2015) on a pyramid backbone, the usual baseline."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.decoders.fcn import FcnDecoder, FcnDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class FcnConfig(PyramidMethod):
    """The sections of a FCN recipe."""

    decoder: FcnDecoderConfig = Field(
        default=FcnDecoderConfig(), description="convolutions and the auxiliary head"
    )

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return FcnDecoder(channels, num_classes, self.decoder)
