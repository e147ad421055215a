"""The linear probe: a linear layer on a backbone, which the protocol freezes (DINOv2, 2023)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.backbones import AnyBackboneConfig, create_backbone
from vitseg.decoders.linear import LinearConfig, LinearDecoder
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class LinearProbeConfig(BaseModel):
    """The sections of a linear probe's recipe. Without `training.freeze_backbone` the backbone learns too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps (the last, or the last four; tap_norm: true in the protocol), or the "
        "Swin and its levels"
    )
    decoder: LinearConfig = Field(
        default=LinearConfig(), description="what stands in front of the linear layer"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"), description="cross-entropy of the pixels"
    )


def build(
    config: LinearProbeConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
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
        backbone, LinearDecoder(backbone.channels, num_classes, config.decoder)
    )


def build_loss(config: LinearProbeConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
