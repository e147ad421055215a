"""Mask2Former (CVPR 2022): queries that attend within their masks, on a pyramid with SeMask's layers or without."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import PyramidConfig
from vitseg.decoders.mask2former import Mask2FormerDecoder, Mask2FormerDecoderConfig
from vitseg.methods.set_prediction import SetPredictionMethod
from vitseg.supervision import Mask2FormerLossConfig


class Mask2FormerConfig(SetPredictionMethod):
    """The sections of a Mask2Former recipe. It needs the transformers library."""

    backbone: PyramidConfig = Field(description="the pyramid and its levels, all four")
    decoder: Mask2FormerDecoderConfig = Field(
        default=Mask2FormerDecoderConfig(), description="pixel decoder, queries and their layers"
    )
    loss: Mask2FormerLossConfig = Field(
        default=Mask2FormerLossConfig(), description="weights of the matched losses"
    )

    @model_validator(mode="after")
    def _reads_the_levels(self) -> Mask2FormerConfig:
        levels = list(self.backbone.levels)
        if levels != [0, 1, 2, 3]:
            raise ValueError(
                f"Mask2Former reads strides 4, 8, 16 and 32, but backbone.levels is {levels}: give [0, 1, 2, 3]"
            )
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return Mask2FormerDecoder(channels, num_classes, self.decoder)
