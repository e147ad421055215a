"""SeMask's semantic layers in a plain ViT, with SegViT's decoder: an experiment of ours."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.steps.semantic import SEMANTIC, SemanticBlocksConfig, add_semantic_layers
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.methods.method import Encoder, MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import AtmLossConfig
from vitseg.types import Size


class SeMaskVitConfig(MethodConfig):
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

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        assert isinstance(encoder, PlainViT)
        add_semantic_layers(encoder, self.semantic, num_classes)
        return super().build_on(encoder, num_classes, image_size)

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return AtmDecoder(channels, num_classes, self.decoder)

    @property
    def learns_absence(self) -> bool:
        return self.loss.learns_absence

    def criterion(self, class_weights: Float[Tensor, " k"] | None = None) -> nn.Module:
        from vitseg.losses.atm import AtmLoss
        from vitseg.losses.extras import SemanticLoss, WithExtras

        semantic = SemanticLoss(self.semantic_weight, class_weights)
        return WithExtras(AtmLoss(self.loss, class_weights), {SEMANTIC: semantic})
