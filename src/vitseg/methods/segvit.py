"""SegViT: semantic segmentation with plain vision transformers (NeurIPS 2022).

A plain ViT, taps at several depths, and a cascade of attention-to-mask stages that starts from the deepest tap. With
Swin (thesis table 4.6) a stage reads a level of the pyramid, and the masks are summed at the finest of them.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import AnyBackboneConfig
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.methods.method import AtmMethod


class SegVitConfig(AtmMethod):
    """The sections of a SegViT recipe."""

    explainer = "stages"

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps, or the pyramid and its levels"
    )
    decoder: AtmConfig = Field(
        default=AtmConfig(), description="the ATM cascade, one stage per tap or level"
    )

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return AtmDecoder(channels, num_classes, self.decoder)
