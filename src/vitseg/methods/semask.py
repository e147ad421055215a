"""SeMask (ICCV workshops 2023): semantic layers in the stages of a Swin, and Semantic FPN."""

from __future__ import annotations

from pydantic import Field

from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.methods.fpn import FpnConfig
from vitseg.methods.method import Encoder


class SeMaskConfig(FpnConfig):
    """The sections of a SeMask recipe. In training the semantic maps are the extra "semantic"."""

    semantic: SemanticLayersConfig = Field(
        default=SemanticLayersConfig(), description="the semantic layers behind the Swin's stages"
    )

    def extend_encoder(self, encoder: Encoder, num_classes: int) -> None:
        add_semantic_layers(
            encoder,
            self.semantic,
            num_classes,
            name=self.backbone.name,
            otherwise="take method fpn",
        )
