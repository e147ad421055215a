"""SegFormer's all-MLP head (NeurIPS 2021) on any backbone."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import AnyBackboneConfig
from vitseg.backbones.mix_transformer import MixTransformer
from vitseg.decoders.all_mlp import AllMlpConfig, AllMlpDecoder
from vitseg.methods.method import Encoder, PixelMethod
from vitseg.supervision import PixelLossConfig


class SegFormerConfig(PixelMethod):
    """The sections of a recipe with SegFormer's head."""

    backbone: AnyBackboneConfig = Field(
        description="the pyramid and its levels, or the plain ViT and its taps"
    )
    decoder: AllMlpConfig = Field(default=AllMlpConfig(), description="the all-MLP head")
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"), description="cross-entropy of the pixels"
    )

    def extend_encoder(self, encoder: Encoder, num_classes: int) -> None:
        """See `MethodConfig`; SegFormer's own encoder runs images of any size as they are."""
        if isinstance(encoder, MixTransformer):
            encoder.pads = False

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return AllMlpDecoder(channels, num_classes, self.decoder)
