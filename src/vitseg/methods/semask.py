"""SeMask (ICCV workshops 2023): semantic layers in the stages of a Swin, and Semantic FPN."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig
from vitseg.backbones.semantic_swin import SemanticLayersConfig
from vitseg.decoders.semantic_fpn import SemanticFpnConfig, SemanticFpnDecoder
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import require_all_levels
from vitseg.methods.semantic_backbone import create_semantic_backbone
from vitseg.types import Size


class SeMaskConfig(BaseModel):
    """The sections of a SeMask recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(description="the Swin and its levels, from 0 without gaps")
    semantic: SemanticLayersConfig = Field(
        default=SemanticLayersConfig(), description="the semantic layers behind its stages"
    )
    decoder: SemanticFpnConfig = Field(
        default=SemanticFpnConfig(), description="convolutions of the levels"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of that of the semantic maps",
    )

    @model_validator(mode="after")
    def _levels_halve(self) -> SeMaskConfig:
        require_all_levels(self.backbone)
        return self


def build(
    config: SeMaskConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model. Its semantic maps are in `SegOutput.aux` as "semantic", in training only.

    Args:
        config: Its configuration.
        num_classes: Classes, of the semantic layers and of the decoder.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.

    Raises:
        ConfigError: The backbone is no Swin, or has no stage that `semantic` names.
    """
    backbone = create_semantic_backbone(
        config.backbone,
        config.semantic,
        num_classes,
        image_size,
        load_pretrained,
        otherwise="take method fpn",
    )
    return SegmentationModel(
        backbone, SemanticFpnDecoder(backbone.channels, num_classes, config.decoder)
    )


def build_loss(config: SeMaskConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
