"""UPerNet (ECCV 2018) on a pyramid backbone, or on a plain ViT through a simple feature pyramid."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import AnyBackboneConfig, PyramidConfig
from vitseg.decoders.feature_pyramid import NUM_LEVELS, SimpleFeaturePyramid
from vitseg.decoders.upernet import UperNetDecoder, UperNetDecoderConfig
from vitseg.methods.method import PixelMethod
from vitseg.supervision import PixelLossConfig


class UperNetConfig(PixelMethod):
    """The sections of a UPerNet recipe."""

    backbone: AnyBackboneConfig = Field(
        description="the pyramid and two or more of its levels, or the plain ViT and four taps (BEiT) or one (ViTDet)"
    )
    decoder: UperNetDecoderConfig = Field(
        default=UperNetDecoderConfig(), description="UPerNet and its auxiliary"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _levels_make_a_pyramid(self) -> UperNetConfig:
        backbone = self.backbone
        if isinstance(backbone, PyramidConfig):
            if len(backbone.levels) < 2:
                raise ValueError(
                    f"UPerNet joins two or more levels, but backbone.levels names {list(backbone.levels)}: add others"
                )
        elif len(backbone.taps) not in (1, NUM_LEVELS):
            raise ValueError(
                f"UPerNet on a plain ViT makes its pyramid of {NUM_LEVELS} taps or of one, but backbone.taps names "
                f"{len(backbone.taps)}: give {NUM_LEVELS}, or the last alone"
            )
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        is_pyramid = isinstance(self.backbone, PyramidConfig)
        pyramid = None if is_pyramid else SimpleFeaturePyramid(channels)
        return UperNetDecoder(channels, num_classes, self.decoder, pyramid)
