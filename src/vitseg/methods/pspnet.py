"""PSPNet (CVPR 2017) on a pyramid backbone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.decoders.pspnet import PspNetDecoder, PspNetDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import require_levels
from vitseg.types import Size


class PspNetConfig(BaseModel):
    """The sections of a PSPNet recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: one for the auxiliary head and the deepest, as [2, 3]"
    )
    decoder: PspNetDecoderConfig = Field(
        default=PspNetDecoderConfig(), description="pooling and the auxiliary head"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _levels_are_read(self) -> PspNetConfig:
        require_levels(
            self.backbone.levels,
            reads_shallowest=False,
            has_auxiliary=self.decoder.auxiliary_dim is not None,
        )
        return self


def build(
    config: PspNetConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    decoder = PspNetDecoder(backbone.channels, num_classes, config.decoder)
    return SegmentationModel(backbone, decoder)


def build_loss(config: PspNetConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
