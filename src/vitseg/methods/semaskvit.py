"""SeMask's semantic layers in a plain ViT, with SegViT's decoder: an experiment of ours."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.semantic_vit import SemanticBlocksConfig, SemanticViT
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.decoders.semantic_fpn import SEMANTIC
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.losses.semantic import WithSemanticMaps
from vitseg.methods.model import SegmentationModel
from vitseg.types import SegOutput, Size


class SeMaskVitConfig(BaseModel):
    """The sections of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneConfig = Field(description="the plain ViT and its taps")
    semantic: SemanticBlocksConfig = Field(description="where the semantic layers stand")
    decoder: AtmConfig = Field(default=AtmConfig(), description="the ATM cascade, a stage per tap")
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="of the decoder: what is supervised, and weights"
    )
    semantic_weight: float = Field(
        default=0.4, ge=0, description="weight of the cross-entropy of the summed semantic maps"
    )


class SemanticSegVit(SegmentationModel):
    """The ViT with semantic layers and the cascade; in training `SegOutput.aux` has the semantic maps' sum, too."""

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegOutput:
        """Run the model on images of any size."""
        features = self.backbone(images)
        output = self.decoder(features)
        if not self.training:
            return output
        total = torch.stack(list(features.aux.values())).sum(0)  # (b, k, h, w)
        semantic = SegOutput(total, None, "logits", features.input_size, features.padded_size)
        return replace(output, aux={**output.aux, SEMANTIC: semantic})


def build(
    config: SeMaskVitConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes, of the semantic layers and of the decoder.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.

    Raises:
        ConfigError: A semantic layer stands behind the last tap.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    assert isinstance(vit, PlainViT)
    backbone = SemanticViT(vit, config.semantic, num_classes)
    return SemanticSegVit(backbone, AtmDecoder(backbone.channels, num_classes, config.decoder))


def build_loss(config: SeMaskVitConfig, class_weights: Tensor | None = None) -> WithSemanticMaps:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    loss = AtmLoss(config.loss, class_weights)
    return WithSemanticMaps(loss, config.semantic_weight, class_weights)
