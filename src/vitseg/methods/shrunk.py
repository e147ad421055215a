"""Shrunk: SegViT whose backbone runs its later blocks on a quarter of the tokens.

Source: SegViT (NeurIPS 2022), section 3.3, with the published weights: one block shrinks the token grid (QD), learned
queries bring it back in the decoder (QU). The thesis' edge-aware form (section 4.2.2, never released) shrinks in
block 0 and keeps the tokens on class boundaries: `edges`. Which choices are ours is said in `backbones/edge_head.py`,
`backbones/shrunk.py` and `losses/edges.py`.
"""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.edge_head import EdgeHead, EdgeHeadConfig
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.shrunk import ShrinkConfig, ShrunkViT
from vitseg.decoders.atm import AtmConfig, AtmDecoder, atm_width
from vitseg.decoders.query_upsampling import (
    QueryUpsampling,
    QueryUpsamplingConfig,
    ShrunkDecoder,
)
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.losses.edges import EdgeLossConfig, edge_loss
from vitseg.methods.model import SegmentationModel
from vitseg.types import SegOutput, Size


class ShrunkConfig(BaseModel):
    """The sections of a Shrunk recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def build(
    config: ShrunkConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes, and so queries.
        image_size: Size of the training images in pixels; learned up-sampling queries are stored for its token grid.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    assert isinstance(vit, PlainViT)
    edge_head = None if config.edges is None else EdgeHead(vit.embed_dim, config.edges)
    backbone = ShrunkViT(vit, config.shrink, edge_head)
    embed_dim, num_heads = atm_width(config.decoder, backbone.channels)
    atm = config.decoder.model_copy(update={"embed_dim": embed_dim, "num_heads": num_heads})
    if config.upsample is None:
        channels = backbone.channels[-1]
        return SegmentationModel(
            backbone, ShrunkDecoder(None, AtmDecoder((channels,), num_classes, atm))
        )
    grid = vit.grid_of(image_size)
    upsampling = QueryUpsampling(backbone.channels, grid, config.upsample, atm)
    decoder = ShrunkDecoder(upsampling, AtmDecoder((embed_dim,), num_classes, atm))
    return SegmentationModel(backbone, decoder)


class ShrunkLoss(nn.Module):
    """The loss of attention-to-mask models, and that of the edge head.

    Args:
        config: The model's configuration.
        class_weights: (k,) weight of every class in the former; None: all alike.
    """

    def __init__(self, config: ShrunkConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.atm = AtmLoss(config.loss, class_weights)

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            The terms of `AtmLoss`, and `loss_edges` where the model has an edge head.
        """
        stages = {name: aux for name, aux in output.aux.items() if name != "edges"}
        terms = self.atm(replace(output, aux=stages), labels)
        if "edges" in output.aux:
            terms["loss_edges"] = edge_loss(output.aux["edges"], labels, self.config.edge_loss)
        return terms


def build_loss(config: ShrunkConfig, class_weights: Tensor | None = None) -> ShrunkLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return ShrunkLoss(config, class_weights)
