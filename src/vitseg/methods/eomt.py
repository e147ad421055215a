"""EoMT: a plain ViT that is the whole model (CVPR 2025).

Queries join the tokens in the last blocks, and a small mask module reads them. Losses and matching are Mask2Former's.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.config import require_one_normed_tap
from vitseg.backbones.steps.joint_queries import add_joint_queries
from vitseg.decoders.eomt import EomtDecoder, EomtDecoderConfig
from vitseg.methods.method import Encoder, MatchedMethod
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class EomtConfig(MatchedMethod):
    """The sections of an EoMT recipe."""

    old_names = ((r"^backbone\.vit\.", "backbone."),)

    backbone: BackboneConfig = Field(
        description="the plain ViT; one tap, its last block, behind the final norm (tap_norm: true)"
    )
    decoder: EomtDecoderConfig = Field(
        default=EomtDecoderConfig(), description="queries, and the blocks that take them"
    )

    @model_validator(mode="after")
    def _reads_normalised_tokens(self) -> EomtConfig:
        require_one_normed_tap(self.backbone, "EoMT")
        return self

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        del image_size
        assert isinstance(encoder, PlainViT)
        decoder = EomtDecoder(encoder.embed_dim, encoder.patch_size, num_classes, self.decoder)
        add_joint_queries(encoder, self.decoder.num_blocks, decoder)
        return SegmentationModel(encoder, decoder, self.fresh_parts)
