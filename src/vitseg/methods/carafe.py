"""CARAFE (ICCV 2019) as a decoder: a pyramid backbone, and content-aware reassembly of its deepest map."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.decoders.carafe import CarafeDecoder, CarafeDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import deepest_stride, require_levels
from vitseg.types import Size


class CarafeConfig(BaseModel):
    """The sections of a CARAFE recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: one for the auxiliary head and the deepest, as [2, 3]"
    )
    decoder: CarafeDecoderConfig = Field(
        default=CarafeDecoderConfig(), description="context, reassembly and the auxiliary head"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _decoder_fits_the_backbone(self) -> CarafeConfig:
        require_levels(
            self.backbone.levels,
            reads_shallowest=False,
            has_auxiliary=self.decoder.auxiliary_dim is not None,
        )
        stride, factors = deepest_stride(self.backbone), self.decoder.factors or ()
        if stride % math.prod(factors):
            raise ValueError(
                f"decoder.factors {list(factors)} make the deepest level {math.prod(factors)} times as large, which "
                f"must divide its stride, {stride}: [2, 2, 2] leads from 32 to 4"
            )
        return self


def build(
    config: CarafeConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    stride = deepest_stride(config.backbone)
    decoder = CarafeDecoder(backbone.channels, num_classes, config.decoder, stride)
    return SegmentationModel(backbone, decoder)


def build_loss(config: CarafeConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
