"""Class queries that go through a ViT's last blocks: EoMT's place, SegViT's supervision.

Ours. As in SegViT (NeurIPS 2022) query k is class k: nothing is matched, there are no more queries than classes, and
every one is supervised from the first step. As in EoMT (CVPR 2025) the decoder is the backbone's own pretrained blocks.
Masks are products with the patches, or with something finer than these.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones.steps.joint_queries import JointTokens
from vitseg.decoders.eomt import JointDecoder
from vitseg.decoders.fine_masks import FineFeatures
from vitseg.outputs import MixedMasks, PresenceMasks


class JointClassesConfig(BaseModel):
    """Where the class queries join, and how they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_blocks: int = Field(
        default=3, ge=1, description="last blocks of the backbone that take the class queries"
    )
    doublings: int = Field(
        default=1,
        ge=0,
        le=3,
        description="how often the patches' resolution is doubled for the masks, each by a learned convolution; 0 "
        "where detail_width is given",
    )
    detail_width: int | None = Field(
        default=None,
        ge=1,
        description="channels of a detail map at a quarter of the image, from two convolutions beside the ViT: masks "
        "are products with it and the patches together; null: with the patches alone",
    )
    classifier: Literal["classes", "presence"] = Field(
        default="classes",
        description='class logits of a query: "classes" (N + 1, queries mixed by their probabilities) or '
        '"presence" (present / absent, query k is class k)',
    )
    masked_attention: bool = Field(
        default=True,
        description="hold queries to the patches of their masks in training, with a probability that falls to 0",
    )

    @model_validator(mode="after")
    def _one_way_to_finer_masks(self) -> JointClassesConfig:
        if self.detail_width is not None and self.doublings:
            raise ValueError(
                f"detail_width {self.detail_width} makes masks of a quarter of the image by itself, but doublings is "
                f"{self.doublings}: set doublings to 0, or leave detail_width out"
            )
        return self


class JointClassesDecoder(JointDecoder):
    """A query for every class.

    Args:
        embed_dim: Width of the backbone's tokens.
        num_classes: Classes, and queries.
        config: See `JointClassesConfig`.
    """

    def __init__(self, embed_dim: int, num_classes: int, config: JointClassesConfig):
        is_presence = config.classifier == "presence"
        super().__init__(
            embed_dim,
            num_classes,
            2 if is_presence else num_classes + 1,
            config.num_blocks,
            config.doublings,
            config.masked_attention,
            config.detail_width,
        )
        self.reading = PresenceMasks if is_presence else MixedMasks
        self.fine: FineFeatures | None = None
        if config.detail_width is not None:
            self.fine = FineFeatures(embed_dim, config.detail_width)

    def pixels(self, tokens: JointTokens) -> Float[Tensor, "b d _ _"]:
        """What masks are products of."""
        if self.fine is None:
            return super().pixels(tokens)
        assert tokens.detail is not None
        return self.fine(tokens.patches, tokens.detail)
