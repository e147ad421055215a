"""What Mask2Former and MaskFormer declare alike: matched losses, and SeMask's layers in a Swin."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitseg.backbones import PyramidConfig
from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.config import given_fields
from vitseg.decoders.semantic_fpn import SEMANTIC
from vitseg.methods.method import Encoder, MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import SetPredictionLossConfig
from vitseg.types import Size


class SetPredictionMethod(MethodConfig):
    """A method on a pyramid whose queries are matched with the classes of an image."""

    backbone: PyramidConfig = Field(description="the pyramid and its levels")
    semantic: SemanticLayersConfig | None = Field(
        default=None, description="SeMask's semantic layers in the stages of a Swin; null: none"
    )
    loss: SetPredictionLossConfig = Field(
        default=SetPredictionLossConfig(), description="weights of the matched losses"
    )
    semantic_weight: float = Field(
        default=0.4,
        ge=0,
        description="with semantic: weight of the cross-entropy of the summed semantic maps",
    )

    @model_validator(mode="after")
    def _weight_belongs_to_semantic(self) -> SetPredictionMethod:
        if self.semantic is None and "semantic_weight" in given_fields(self):
            raise ValueError(
                "semantic_weight belongs to semantic: set it, as {}, or leave both out"
            )
        return self

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        if self.semantic is not None:
            add_semantic_layers(
                encoder,
                self.semantic,
                num_classes,
                name=self.backbone.name,
                otherwise="leave semantic out",
            )
        return super().build_on(encoder, num_classes, image_size)

    @property
    def learns_absence(self) -> bool:
        return True  # by the class loss, in which no query has a class

    def criterion(self, class_weights: Float[Tensor, " k"] | None = None) -> nn.Module:
        from vitseg.losses.extras import SemanticLoss, WithExtras
        from vitseg.losses.set_prediction import SetPredictionLoss

        loss = SetPredictionLoss(self.loss, class_weights)
        if self.semantic is None:
            return loss
        return WithExtras(loss, {SEMANTIC: SemanticLoss(self.semantic_weight, class_weights)})
