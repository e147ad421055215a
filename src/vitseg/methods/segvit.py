"""SegViT: semantic segmentation with plain vision transformers (NeurIPS 2022).

A plain ViT, taps at several depths, and a cascade of attention-to-mask stages that starts from the deepest tap. With
Swin (thesis table 4.6) a stage reads a level of the pyramid, and the masks are summed at the finest of them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.backbones import AnyBackboneConfig, create_backbone
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class SegVitConfig(BaseModel):
    """The sections of a SegViT recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps, or the pyramid and its levels"
    )
    decoder: AtmConfig = Field(
        default=AtmConfig(), description="the ATM cascade, one stage per tap or level"
    )
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="what is supervised, and the weights of the terms"
    )


def build(
    config: SegVitConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes, and so queries.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    return SegmentationModel(backbone, AtmDecoder(backbone.channels, num_classes, config.decoder))


def build_loss(config: SegVitConfig, class_weights: Tensor | None = None) -> AtmLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return AtmLoss(config.loss, class_weights)
