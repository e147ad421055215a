"""Semantic FPN (the segmentation branch of Panoptic FPN, CVPR 2019) on a pyramid: SeMask's baseline."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.decoders.semantic_fpn import SemanticFpnConfig, SemanticFpnDecoder
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import require_all_levels
from vitseg.types import Size


class FpnConfig(BaseModel):
    """The sections of a Semantic-FPN recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(description="the pyramid and its levels, from 0 without gaps")
    decoder: SemanticFpnConfig = Field(
        default=SemanticFpnConfig(), description="convolutions of the levels"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(), description="cross-entropy of the pixels"
    )

    @model_validator(mode="after")
    def _levels_halve(self) -> FpnConfig:
        require_all_levels(self.backbone)
        return self


def build(
    config: FpnConfig,
    num_classes: int,
    image_size: Size,
    load_pretrained: bool = True,
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    return SegmentationModel(
        backbone, SemanticFpnDecoder(backbone.channels, num_classes, config.decoder)
    )


def build_loss(config: FpnConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
