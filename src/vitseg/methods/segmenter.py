"""Segmenter: a plain ViT, and either one linear layer or a mask transformer (ICCV 2021)."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import BackboneConfig
from vitseg.backbones.config import require_one_normed_tap
from vitseg.decoders.segmenter import LinearTokenDecoder, MaskTransformer, SegmenterDecoderConfig
from vitseg.methods.method import PixelMethod
from vitseg.supervision import PixelLossConfig


class SegmenterConfig(PixelMethod):
    """The sections of a Segmenter recipe."""

    backbone: BackboneConfig = Field(
        description="the plain ViT; one tap, its last block, behind the final norm (tap_norm: true)"
    )
    decoder: SegmenterDecoderConfig = Field(
        default=SegmenterDecoderConfig(), description="linear layer or mask transformer"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"),
        description="cross-entropy of the pixels; the published training takes the mean over the labelled ones",
    )

    @model_validator(mode="after")
    def _reads_normalised_tokens(self) -> SegmenterConfig:
        require_one_normed_tap(self.backbone, "a Segmenter")
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        if self.decoder.kind == "linear":
            return LinearTokenDecoder(channels[-1], num_classes)
        return MaskTransformer(channels[-1], num_classes, self.decoder)
