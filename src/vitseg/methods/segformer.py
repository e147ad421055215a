"""SegFormer's all-MLP head (NeurIPS 2021) on any backbone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.backbones import AnyBackboneConfig, create_backbone
from vitseg.decoders.all_mlp import AllMlpConfig, AllMlpDecoder
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class SegFormerConfig(BaseModel):
    """The sections of a recipe with SegFormer's head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: AnyBackboneConfig = Field(
        description="the pyramid and its levels, or the plain ViT and its taps"
    )
    decoder: AllMlpConfig = Field(default=AllMlpConfig(), description="the all-MLP head")
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"), description="cross-entropy of the pixels"
    )


def build(
    config: SegFormerConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
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
        backbone, AllMlpDecoder(backbone.channels, num_classes, config.decoder)
    )


def build_loss(config: SegFormerConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
