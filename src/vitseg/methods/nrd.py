"""NRD (NeurIPS 2021): a pyramid backbone, and dynamic neural representational decoders of its cells."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.decoders.nrd import RESULT_STRIDE, NrdDecoder, NrdDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pyramid import deepest_stride, require_levels
from vitseg.types import Size


class NrdConfig(BaseModel):
    """The sections of an NRD recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: 0 for the guidance, one for the auxiliary head and the deepest, as [0, 2, 3]"
    )
    decoder: NrdDecoderConfig = Field(
        default=NrdDecoderConfig(), description="pooling, controller and the networks of the cells"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of the auxiliary head's",
    )

    @model_validator(mode="after")
    def _levels_are_read(self) -> NrdConfig:
        levels, has_guidance = self.backbone.levels, self.decoder.guidance_dim is not None
        if levels[-1] == 0:
            raise ValueError(
                "backbone.levels is [0], whose cells are no larger than a pixel of the result: add deeper stages, as "
                "in [0, 2, 3]"
            )
        if has_guidance and levels[0] != 0:
            raise ValueError(
                f"the guidance map is read from stage 0, but backbone.levels is {list(levels)}: add 0, or set "
                "decoder.guidance_dim: null"
            )
        require_levels(
            levels,
            reads_shallowest=has_guidance,
            has_auxiliary=self.decoder.auxiliary_dim is not None,
        )
        return self


def build(
    config: NrdConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    cell_side = deepest_stride(config.backbone) // RESULT_STRIDE
    decoder = NrdDecoder(backbone.channels, num_classes, config.decoder, cell_side)
    return SegmentationModel(backbone, decoder)


def build_loss(config: NrdConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
