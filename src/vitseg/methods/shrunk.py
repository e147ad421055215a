"""Shrunk: SegViT whose backbone runs its later blocks on a quarter of the tokens.

Source: SegViT (NeurIPS 2022), section 3.3, with the published weights: one block shrinks the token grid (QD), learned
queries bring it back in the decoder (QU). The thesis' edge-aware form (section 4.2.2, never released) shrinks in
block 0 and keeps the tokens on class boundaries: `edges`. Which choices are ours is said in
`backbones/steps/edges.py`, `backbones/steps/shrink.py` and `losses/edges.py`.
"""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.steps.edges import EDGES, EdgeHead, EdgeHeadConfig, add_edges
from vitseg.backbones.steps.shrink import ShrinkConfig, add_shrinking
from vitseg.decoders.atm import AtmConfig, AtmDecoder, atm_width
from vitseg.decoders.query_upsampling import (
    QueryUpsampling,
    QueryUpsamplingConfig,
    ShrunkDecoder,
)
from vitseg.methods.method import AtmMethod, ClassWeights, Encoder
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import AtmLossConfig, EdgeLossConfig
from vitseg.types import Size


class ShrunkConfig(AtmMethod):
    """The sections of a Shrunk recipe."""

    block_fields = (("shrink", "block"),)
    fresh_parts = ("decoder.", "backbone.edge_head.")
    old_names = (
        (r"^backbone\.vit\.", "backbone."),
        (r"^backbone\.conv\.", "backbone.shrink."),
    )
    explainer = "stages"

    backbone: BackboneConfig = Field(
        description="the plain ViT and its taps behind the shrinking block"
    )
    shrink: ShrinkConfig = Field(description="where and how the tokens become fewer")
    edges: EdgeHeadConfig | None = Field(
        default=None, description="keep the tokens on class boundaries, too (EQD)"
    )
    upsample: QueryUpsamplingConfig | None = Field(
        default=QueryUpsamplingConfig(),
        description="bring the full token grid back (QU); null: the masks stay at half the grid",
    )
    decoder: AtmConfig = Field(
        default=AtmConfig(supervise="layers", projection="none"),
        description="the attention-to-mask layers, of one stage",
    )
    loss: AtmLossConfig = Field(default=AtmLossConfig(), description="weights of the loss terms")
    edge_loss: EdgeLossConfig = Field(
        default=EdgeLossConfig(), description="loss of the edge head, where there is one"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ShrunkConfig:
        if self.edges is not None and self.upsample is None:
            raise ValueError(
                "edges keeps tokens that belong to no half grid, so upsample cannot be null: leave one of them out"
            )
        return self

    @property
    def has_static_tokens(self) -> bool:
        return self.edges is None

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        assert isinstance(encoder, PlainViT)
        if self.edges is not None:
            add_edges(encoder, EdgeHead(encoder.embed_dim, self.edges))
        add_shrinking(encoder, self.shrink)
        channels = (encoder.embed_dim, *encoder.channels)  # of the map that enters the block, too
        embed_dim, num_heads = atm_width(self.decoder, channels)
        atm = self.decoder.model_copy(update={"embed_dim": embed_dim, "num_heads": num_heads})
        if self.upsample is None:
            decoder = ShrunkDecoder(None, AtmDecoder(channels[-1:], num_classes, atm))
        else:
            grid = encoder.grid_of(image_size)
            upsampling = QueryUpsampling(channels, grid, self.upsample, atm)
            decoder = ShrunkDecoder(upsampling, AtmDecoder((embed_dim,), num_classes, atm))
        return SegmentationModel(encoder, decoder, self.fresh_parts)

    def extra_losses(self, class_weights: ClassWeights | None) -> dict[str, nn.Module]:
        from vitseg.losses.edges import EdgeLoss

        return {} if self.edges is None else {EDGES: EdgeLoss(self.edge_loss)}
