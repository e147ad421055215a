"""MaskFormer (NeurIPS 2021): a class and a mask of every query, on a pyramid with SeMask's layers or without."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import PyramidConfig
from vitseg.decoders.maskformer import MaskFormerDecoder, MaskFormerDecoderConfig
from vitseg.methods.set_prediction import SetPredictionMethod
from vitseg.supervision import MaskFormerLossConfig


class MaskFormerConfig(SetPredictionMethod):
    """The sections of a MaskFormer recipe. It needs the transformers library."""

    backbone: PyramidConfig = Field(description="the pyramid and its levels, from 0 without gaps")
    decoder: MaskFormerDecoderConfig = Field(
        default=MaskFormerDecoderConfig(), description="pixel decoder, queries and their layers"
    )
    loss: MaskFormerLossConfig = Field(
        default=MaskFormerLossConfig(), description="weights of the matched losses"
    )

    @model_validator(mode="after")
    def _reads_the_levels(self) -> MaskFormerConfig:
        levels = list(self.backbone.levels)
        if len(levels) < 2 or levels != list(range(len(levels))):
            raise ValueError(
                f"MaskFormer's feature pyramid needs two or more levels, from 0 without gaps, but backbone.levels is "
                f"{levels}: give [0, 1, 2, 3]"
            )
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return MaskFormerDecoder(channels, num_classes, self.decoder)
