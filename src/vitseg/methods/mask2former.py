"""Mask2Former (CVPR 2022): queries that attend within their masks, on a pyramid with SeMask's layers or without."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig
from vitseg.backbones.semantic_swin import SemanticLayersConfig
from vitseg.decoders.mask2former import Mask2FormerDecoder, Mask2FormerDecoderConfig
from vitseg.losses.semantic import WithSemanticMaps
from vitseg.losses.set_prediction import Mask2FormerLossConfig, SetPredictionLoss
from vitseg.methods.model import SegmentationModel
from vitseg.methods.semantic_backbone import create_semantic_backbone, require_semantic
from vitseg.types import Size


class Mask2FormerConfig(BaseModel):
    """The sections of a Mask2Former recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(description="the pyramid and its levels, all four")
    semantic: SemanticLayersConfig | None = Field(
        default=None, description="SeMask's semantic layers in the stages of a Swin; null: none"
    )
    decoder: Mask2FormerDecoderConfig = Field(
        default=Mask2FormerDecoderConfig(), description="pixel decoder, queries and their layers"
    )
    loss: Mask2FormerLossConfig = Field(
        default=Mask2FormerLossConfig(), description="weights of the matched losses"
    )
    semantic_weight: float = Field(
        default=0.4,
        ge=0,
        description="with semantic: weight of the cross-entropy of the summed semantic maps",
    )

    @model_validator(mode="after")
    def _reads_the_levels(self) -> Mask2FormerConfig:
        levels = list(self.backbone.levels)
        if levels != [0, 1, 2, 3]:
            raise ValueError(
                f"Mask2Former reads strides 4, 8, 16 and 32, but backbone.levels is {levels}: give [0, 1, 2, 3]"
            )
        require_semantic(self, self.semantic)
        return self


def build(
    config: Mask2FormerConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes, of the semantic layers and of the decoder.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.

    Raises:
        ConfigError: The transformers library is not there; or semantic layers are wanted, and the backbone is no Swin,
            or has no stage that `semantic` names.
    """
    backbone = create_semantic_backbone(
        config.backbone,
        config.semantic,
        num_classes,
        image_size,
        load_pretrained,
        otherwise="leave semantic out",
    )
    return SegmentationModel(
        backbone, Mask2FormerDecoder(backbone.channels, num_classes, config.decoder)
    )


def build_loss(config: Mask2FormerConfig, class_weights: Tensor | None = None) -> WithSemanticMaps:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    loss = SetPredictionLoss(config.loss, class_weights)
    return WithSemanticMaps(loss, config.semantic_weight, class_weights)
