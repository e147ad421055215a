"""CARAFE (ICCV 2019) as a decoder: a pyramid backbone, and content-aware reassembly of its deepest map."""

from __future__ import annotations

import math

from pydantic import Field, model_validator
from torch import nn

from vitseg.decoders.carafe import CarafeDecoder, CarafeDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class CarafeConfig(PyramidMethod):
    """The sections of a CARAFE recipe."""

    decoder: CarafeDecoderConfig = Field(
        default=CarafeDecoderConfig(), description="context, reassembly and the auxiliary head"
    )

    @model_validator(mode="after")
    def _factors_divide_the_stride(self) -> CarafeConfig:
        stride, factors = self.deepest_stride, self.decoder.factors or ()
        if stride % math.prod(factors):
            raise ValueError(
                f"decoder.factors {list(factors)} make the deepest level {math.prod(factors)} times as large, which "
                f"must divide its stride, {stride}: [2, 2, 2] leads from 32 to 4"
            )
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return CarafeDecoder(channels, num_classes, self.decoder, self.deepest_stride)
