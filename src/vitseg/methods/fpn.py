"""Semantic FPN (the segmentation branch of Panoptic FPN, CVPR 2019) on a pyramid: SeMask's baseline."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import PyramidConfig
from vitseg.decoders.semantic_fpn import SemanticFpnConfig, SemanticFpnDecoder
from vitseg.methods.method import PixelMethod
from vitseg.methods.pyramid import require_all_levels


class FpnConfig(PixelMethod):
    """The sections of a Semantic-FPN recipe."""

    backbone: PyramidConfig = Field(description="the pyramid and its levels, from 0 without gaps")
    decoder: SemanticFpnConfig = Field(
        default=SemanticFpnConfig(), description="convolutions of the levels"
    )

    @model_validator(mode="after")
    def _levels_halve(self) -> FpnConfig:
        require_all_levels(self.backbone)
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return SemanticFpnDecoder(channels, num_classes, self.decoder)
