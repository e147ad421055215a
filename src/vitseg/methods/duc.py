"""DUC (WACV 2018): a pyramid backbone, and dense upsampling convolution of its deepest map."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.decoders.duc import DucDecoder, DucDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import deepest_stride, require_levels
from vitseg.types import Size


class DucConfig(BaseModel):
    """The sections of a DUC recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: one for the auxiliary head and the deepest, as [2, 3]"
    )
    decoder: DucDecoderConfig = Field(
        default=DucDecoderConfig(), description="convolution, its shape and the auxiliary head"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _decoder_fits_the_backbone(self) -> DucConfig:
        require_levels(
            self.backbone.levels,
            reads_shallowest=False,
            has_auxiliary=self.decoder.auxiliary_dim is not None,
        )
        stride = deepest_stride(self.backbone)
        if stride % self.decoder.result_stride:
            raise ValueError(
                f"decoder.result_stride {self.decoder.result_stride} must divide the stride of the deepest level, "
                f"{stride}: give 1, 2, 4 or 8"
            )
        return self


def build(
    config: DucConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
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
    decoder = DucDecoder(backbone.channels, num_classes, config.decoder, stride)
    return SegmentationModel(backbone, decoder)


def build_loss(config: DucConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
