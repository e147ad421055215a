"""SETR: semantic segmentation as a sequence-to-sequence task (CVPR 2021).

A plain ViT, or a CNN with a ViT on its features, and one of three convolutional heads. Auxiliary heads on earlier
blocks help in training and are not run afterwards.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.setr_mla import MlaBackbone
from vitseg.decoders.setr import SetrDecoder, SetrHeadConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class SetrConfig(BaseModel):
    """The sections of a SETR recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneConfig = Field(
        description="the ViT; its taps are the blocks that the heads read (naive and pup: the deepest and those of the "
        "auxiliary heads; mla: the levels)"
    )
    decoder: SetrHeadConfig = Field(description="the head and its auxiliary heads")
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(), description="cross-entropy of every head's pixels"
    )

    @model_validator(mode="after")
    def _every_tap_is_read(self) -> SetrConfig:
        taps, auxiliary = self.backbone.taps, self.decoder.auxiliary
        untapped = [block for block in auxiliary if block not in taps]
        if untapped:
            raise ValueError(
                f"decoder.auxiliary names block {untapped[0]}, which is not among backbone.taps {list(taps)}: add it "
                "there, or leave it out"
            )
        unread = [block for block in taps[:-1] if block not in auxiliary]
        if self.decoder.kind != "mla" and unread:
            raise ValueError(
                f"backbone.taps names block {unread[0]}, which no head reads: kind {self.decoder.kind!r} reads the "
                "deepest and those in decoder.auxiliary"
            )
        return self


def build(
    config: SetrConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    return with_head(vit, config.decoder, num_classes)


def with_head(vit: PlainViT, config: SetrHeadConfig, num_classes: int) -> SegmentationModel:
    """The model on a ViT."""
    backbone = MlaBackbone(vit) if config.kind == "mla" else vit
    decoder = SetrDecoder(backbone.channels, vit.config.taps, num_classes, config)
    return SegmentationModel(backbone, decoder)


def build_loss(config: SetrConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
