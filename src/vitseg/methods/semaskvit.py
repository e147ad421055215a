"""SeMask's semantic layers in a plain ViT, with SegViT's decoder: an experiment of ours."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.steps.semantic import SemanticBlocksConfig, add_semantic_layers
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.methods.method import AtmMethod, Encoder
from vitseg.methods.semantic import SemanticMethod
from vitseg.supervision import AtmLossConfig


class SeMaskVitConfig(SemanticMethod, AtmMethod):
    """The sections of a recipe. In training the sum of the semantic maps is the extra "semantic"."""

    block_fields = (("semantic", "blocks"),)
    explainer = "stages"
    old_names = ((r"^backbone\.vit\.", "backbone."),)

    backbone: BackboneConfig = Field(description="the plain ViT and its taps")
    semantic: SemanticBlocksConfig = Field(description="where the semantic layers stand")
    decoder: AtmConfig = Field(default=AtmConfig(), description="the ATM cascade, a stage per tap")
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="of the decoder: what is supervised, and weights"
    )
    semantic_weight: float = Field(
        default=0.4, ge=0, description="weight of the cross-entropy of the summed semantic maps"
    )

    def extend_encoder(self, encoder: Encoder, num_classes: int) -> None:
        assert isinstance(encoder, PlainViT)
        add_semantic_layers(encoder, self.semantic, num_classes)

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return AtmDecoder(channels, num_classes, self.decoder)
