"""Segmenter: a plain ViT, and either one linear layer or a mask transformer (ICCV 2021)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.config import require_one_normed_tap
from vitseg.backbones.plain_vit import PlainViT
from vitseg.decoders.segmenter import LinearTokenDecoder, MaskTransformer, SegmenterDecoderConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class SegmenterConfig(BaseModel):
    """The sections of a Segmenter recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneConfig = Field(
        description="the plain ViT; one tap, its last block, behind the final norm (tap_norm: true)"
    )
    decoder: SegmenterDecoderConfig = Field(
        default=SegmenterDecoderConfig(), description="linear layer or mask transformer"
    )
    loss: PixelLossConfig = Field(
        default=PixelLossConfig(mean_over="labelled"),
        description="cross-entropy of the pixels; the published training takes the mean over the labelled ones",
    )

    @model_validator(mode="after")
    def _reads_normalised_tokens(self) -> SegmenterConfig:
        require_one_normed_tap(self.backbone, "a Segmenter")
        return self


def build(
    config: SegmenterConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    return with_decoder(vit, config.decoder, num_classes)


def with_decoder(
    vit: PlainViT, config: SegmenterDecoderConfig, num_classes: int
) -> SegmentationModel:
    """The model on a ViT."""
    if config.kind == "linear":
        return SegmentationModel(vit, LinearTokenDecoder(vit.embed_dim, num_classes))
    return SegmentationModel(vit, MaskTransformer(vit.embed_dim, num_classes, config))


def build_loss(config: SegmenterConfig, class_weights: Tensor | None = None) -> PixelLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return PixelLoss(config.loss, class_weights)
