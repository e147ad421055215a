"""Class queries that go through a ViT's last blocks: EoMT's place, SegViT's supervision.

Ours. As in SegViT (NeurIPS 2022) query k is class k: nothing is matched, there are no more queries than classes, and
every one is supervised from the first step. As in EoMT (CVPR 2025) the decoder is the backbone's own pretrained blocks.
Masks are products with the patches, at a multiple of their resolution.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vitseg.decoders.eomt import JointDecoder
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
        description="how often the patches' resolution is doubled for the masks, each by a learned convolution",
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
        )
        self.reading = PresenceMasks if is_presence else MixedMasks
