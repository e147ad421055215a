"""What Mask2Former and MaskFormer declare alike: matched losses, and SeMask's layers in a Swin."""

from __future__ import annotations

from pydantic import Field

from vitseg.backbones import PyramidConfig
from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.methods.method import Encoder, MatchedMethod
from vitseg.methods.semantic import SemanticMethod


class SetPredictionMethod(SemanticMethod, MatchedMethod):
    """A method on a pyramid whose queries are matched with the classes of an image."""

    backbone: PyramidConfig = Field(description="the pyramid and its levels")
    semantic: SemanticLayersConfig | None = Field(
        default=None, description="SeMask's semantic layers in the stages of a Swin; null: none"
    )

    def extend_encoder(self, encoder: Encoder, num_classes: int) -> None:
        if self.semantic is not None:
            add_semantic_layers(
                encoder,
                self.semantic,
                num_classes,
                name=self.backbone.name,
                otherwise="leave semantic out",
            )
