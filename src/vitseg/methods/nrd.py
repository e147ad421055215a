"""NRD (NeurIPS 2021): a pyramid backbone, and dynamic neural representational decoders of its cells."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import PyramidConfig
from vitseg.decoders.nrd import RESULT_STRIDE, NrdDecoder, NrdDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class NrdConfig(PyramidMethod):
    """The sections of an NRD recipe."""

    explainer = "cells"

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: 0 for the guidance, one for the auxiliary head and the deepest, as [0, 2, 3]"
    )
    decoder: NrdDecoderConfig = Field(
        default=NrdDecoderConfig(), description="pooling, controller and the networks of the cells"
    )

    @property
    def reads_shallowest(self) -> bool:
        return self.decoder.guidance_dim is not None

    def require_levels(self) -> None:
        levels = self.backbone.levels
        if levels[-1] == 0:
            raise ValueError(
                "backbone.levels is [0], whose cells are no larger than a pixel of the result: add deeper stages, as "
                "in [0, 2, 3]"
            )
        if self.reads_shallowest and levels[0] != 0:
            raise ValueError(
                f"the guidance map is read from stage 0, but backbone.levels is {list(levels)}: add 0, or set "
                "decoder.guidance_dim: null"
            )
        super().require_levels()

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        cell_side = self.deepest_stride // RESULT_STRIDE
        return NrdDecoder(channels, num_classes, self.decoder, cell_side)
