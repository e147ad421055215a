"""EoMT: a plain ViT that is the whole model (CVPR 2025).

Queries join the tokens in the last blocks, and a small mask module reads them. In training there is a prediction in
front of every joint block, too: it is supervised, and the queries attend to the patches of their predicted masks alone,
with a probability that falls to 0. Losses and matching are Mask2Former's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.config import require_one_normed_tap
from vitseg.backbones.joint_queries import JointQueryViT, JointTokens
from vitseg.decoders.eomt import (
    EomtDecoder,
    EomtDecoderConfig,
    masked_patches,
    masking_probability,
)
from vitseg.losses.set_prediction import SetPredictionLoss, SetPredictionLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import SegOutput, Size, spatial_size


class EomtConfig(BaseModel):
    """The sections of an EoMT recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneConfig = Field(
        description="the plain ViT; one tap, its last block, behind the final norm (tap_norm: true)"
    )
    decoder: EomtDecoderConfig = Field(
        default=EomtDecoderConfig(), description="queries, and the blocks that take them"
    )
    loss: SetPredictionLossConfig = Field(
        default=SetPredictionLossConfig(), description="weights of the matched losses"
    )

    @model_validator(mode="after")
    def _reads_normalised_tokens(self) -> EomtConfig:
        require_one_normed_tap(self.backbone, "EoMT")
        return self


class EomtModel(SegmentationModel):
    """The ViT with joint queries, and the mask module.

    `SegOutput.aux` holds the predictions in front of the joint blocks as "block_0", ..., in training only.
    """

    def __init__(self, backbone: JointQueryViT, decoder: EomtDecoder):
        super().__init__(backbone, decoder)
        self.progress = 0.0

    def set_progress(self, fraction: float) -> None:
        """How far the training is, in [0, 1]: it decides how many queries are held to their masks."""
        self.progress = fraction

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegOutput:
        """Run the model on images of any size."""
        queries = cast(EomtDecoder, self.decoder).query_embed.weight
        early: dict[str, SegOutput] = {}

        def read(block: int, tokens: JointTokens) -> Bool[Tensor, "b q n"] | None:
            output = self.decoder(tokens)
            early[f"block_{block}"] = output
            probability = self._masking_probability(block)
            return masked_patches(output, spatial_size(tokens.patches), probability)

        tokens = self.backbone(images, queries, read if self.training else None)
        return replace(self.decoder(tokens), aux=early)

    def _masking_probability(self, block: int) -> float:
        num_blocks = cast(EomtDecoder, self.decoder).config.num_blocks
        return masking_probability(block, num_blocks, self.progress)


def build(
    config: EomtConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> EomtModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    backbone = JointQueryViT(vit, config.decoder.num_blocks)
    decoder = EomtDecoder(vit.embed_dim, vit.patch_size, num_classes, config.decoder)
    return EomtModel(backbone, decoder)


def build_loss(config: EomtConfig, class_weights: Tensor | None = None) -> SetPredictionLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return SetPredictionLoss(config.loss, class_weights)
