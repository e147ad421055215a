"""PSPNet (CVPR 2017) on a pyramid backbone."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.decoders.pspnet import PspNetDecoder, PspNetDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class PspNetConfig(PyramidMethod):
    """The sections of a PSPNet recipe."""

    decoder: PspNetDecoderConfig = Field(
        default=PspNetDecoderConfig(), description="pooling and the auxiliary head"
    )

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return PspNetDecoder(channels, num_classes, self.decoder)
