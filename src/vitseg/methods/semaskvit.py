"""SeMask's semantic layers in a plain ViT, with SegViT's decoder: an experiment of ours."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.semantic_vit import SemanticBlocksConfig, SemanticViT
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.decoders.semantic_fpn import SEMANTIC
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
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


class SeMaskVitLoss(nn.Module):
    """The loss of attention-to-mask models, and the cross-entropy of the semantic maps.

    Args:
        config: The model's configuration.
        class_weights: (k,) weight of every class; None: all alike.
    """

    def __init__(self, config: SeMaskVitConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.weight = config.semantic_weight
        self.atm = AtmLoss(config.loss, class_weights)
        self.pixels = PixelLoss(PixelLossConfig(mean_over="labelled"), class_weights)

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the model returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            The terms of `AtmLoss`, and `loss_semantic` of an output in training.
        """
        stages = {name: aux for name, aux in output.aux.items() if name != SEMANTIC}
        terms = self.atm(replace(output, aux=stages), labels)
        if SEMANTIC in output.aux:
            (loss,) = self.pixels(output.aux[SEMANTIC], labels).values()
            terms["loss_semantic"] = self.weight * loss
        return terms


def build_loss(config: SeMaskVitConfig, class_weights: Tensor | None = None) -> SeMaskVitLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return SeMaskVitLoss(config, class_weights)
