"""UPerNet (ECCV 2018) on a pyramid backbone, or on a plain ViT through a simple feature pyramid."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import AnyBackboneConfig, PyramidConfig, create_backbone
from vitseg.decoders.feature_pyramid import NUM_LEVELS, SimpleFeaturePyramid
from vitseg.decoders.upernet import UperNetDecoder, UperNetDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class UperNetConfig(BaseModel):
    """The sections of a UPerNet recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: AnyBackboneConfig = Field(
        description="the pyramid and two or more of its levels, or the plain ViT and four taps (BEiT) or one (ViTDet)"
    )
    decoder: UperNetDecoderConfig = Field(
        default=UperNetDecoderConfig(), description="UPerNet and its auxiliary"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _levels_make_a_pyramid(self) -> UperNetConfig:
        backbone = self.backbone
        if isinstance(backbone, PyramidConfig):
            if len(backbone.levels) < 2:
                raise ValueError(
                    f"UPerNet joins two or more levels, but backbone.levels names {list(backbone.levels)}: add others"
                )
        elif len(backbone.taps) not in (1, NUM_LEVELS):
            raise ValueError(
                f"UPerNet on a plain ViT makes its pyramid of {NUM_LEVELS} taps or of one, but backbone.taps names "
                f"{len(backbone.taps)}: give {NUM_LEVELS}, or the last alone"
            )
        return self


def build(
    config: UperNetConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    pyramid = None
    if not isinstance(config.backbone, PyramidConfig):
        pyramid = SimpleFeaturePyramid(backbone.channels)
    decoder = UperNetDecoder(backbone.channels, num_classes, config.decoder, pyramid)
    return SegmentationModel(backbone, decoder)


def build_loss(config: UperNetConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
