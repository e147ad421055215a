"""DeepLabV3 (2017) and DeepLabV3+ (ECCV 2018), and the bilinear decoder that NRD is measured against."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import PyramidConfig
from vitseg.decoders.deeplab import DeepLabDecoder, DeepLabDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class DeepLabConfig(PyramidMethod):
    """The sections of a DeepLab recipe."""

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: for v3plus a shallow one, one for the auxiliary head and the deepest, as "
        "[0, 2, 3]; for the others without the first"
    )
    decoder: DeepLabDecoderConfig = Field(
        default=DeepLabDecoderConfig(), description="pooling, refinement and the auxiliary head"
    )

    @property
    def reads_shallowest(self) -> bool:
        return self.decoder.kind == "v3plus"

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return DeepLabDecoder(channels, num_classes, self.decoder, self.deepest_stride)
