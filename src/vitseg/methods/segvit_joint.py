"""SegViT whose class queries go through the ViT's last blocks themselves. Ours; see `decoders/joint_classes.py`."""

from __future__ import annotations

from pydantic import Field, model_validator

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.config import require_one_normed_tap
from vitseg.backbones.steps.joint_queries import add_joint_queries
from vitseg.decoders.joint_classes import JointClassesConfig, JointClassesDecoder
from vitseg.methods.method import AtmMethod, Encoder
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import AtmLossConfig
from vitseg.types import Size


class SegVitJointConfig(AtmMethod):
    """The sections of a recipe."""

    explainer = "stages"

    backbone: BackboneConfig = Field(
        description="the plain ViT; one tap, its last block, behind the final norm (tap_norm: true)"
    )
    decoder: JointClassesConfig = Field(
        default=JointClassesConfig(), description="the class queries, and the blocks that take them"
    )
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="what is supervised, and the weights of the terms"
    )

    @model_validator(mode="after")
    def _reads_normalised_tokens(self) -> SegVitJointConfig:
        require_one_normed_tap(self.backbone, "segvit_joint")
        return self

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        del image_size
        assert isinstance(encoder, PlainViT)
        decoder = JointClassesDecoder(encoder.embed_dim, num_classes, self.decoder)
        add_joint_queries(encoder, self.decoder.num_blocks, decoder)
        return SegmentationModel(encoder, decoder, self.fresh_parts)
