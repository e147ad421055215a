"""DToP: a plain ViT whose tokens leave at an exit once its head is sure of them (ICCV 2023).

With the heads "atm" it prunes SegViT, with "fcn" SETR. A model is trained with `pruning.threshold` 1, at which nobody
leaves; from there it can be pruned as it is (the thesis' "direct"), or trained on at a threshold below 1 ("finetune",
`training.init_from`); "retrain" trains at that threshold from the start. Pruning acts in training and evaluation alike.

`shrink` and `semantic` put the steps of Shrunk (QD) and of SeMask in the same backbone: ours, nobody published these.
"""

from __future__ import annotations

from typing import cast

from pydantic import Field, model_validator
from torch import nn

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.steps.exit import ExitHead, add_exits
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.backbones.steps.semantic import SemanticBlocksConfig, add_semantic_layers
from vitseg.backbones.steps.shrink import ShrinkConfig, add_shrinking
from vitseg.decoders.token_heads import TokenHeads, TokenHeadsConfig
from vitseg.methods.method import ClassWeights, Encoder, MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.semantic import SemanticMethod
from vitseg.supervision import AtmLossConfig, PixelLossConfig
from vitseg.types import Size, StateDict


class DtopConfig(SemanticMethod):
    """The sections of a DToP recipe.

    The output's `stages` are the predictions at the exits, by their block: "exit_5". In evaluation an exit at which no
    token can leave has none: its head is not run.
    """

    block_fields = (("shrink", "block"), ("semantic", "blocks"))
    movable_fields = ("backbone.taps",)  # an exit may be moved
    explainer = "exits"
    old_names = (
        (r"^backbone\.vit\.", "backbone."),
        (r"^backbone\.conv\.", "backbone.halve."),
    )

    backbone: BackboneConfig = Field(
        description="the plain ViT; tokens may leave behind its taps, and the last head reads the deepest of them"
    )
    pruning: PruningConfig = Field(default=PruningConfig(), description="which tokens leave")
    shrink: ShrinkConfig | None = Field(
        default=None,
        description="a block in front of all exits that returns a quarter of the tokens, as in Shrunk; masks then "
        "have half the grid",
    )
    semantic: SemanticBlocksConfig | None = Field(
        default=None, description="SeMask's semantic layers behind some blocks"
    )
    decoder: TokenHeadsConfig = Field(
        default=TokenHeadsConfig(), description="the heads at the exits, and the last"
    )
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="of the heads of kind atm, all alike"
    )
    pixel_loss: PixelLossConfig = Field(
        default=PixelLossConfig(), description="of the heads of kind fcn"
    )

    @model_validator(mode="after")
    def _consistent(self) -> DtopConfig:
        if self.loss.kind != "masks":
            raise ValueError(
                f'loss.kind is "{self.loss.kind}", but token heads are trained by "masks": leave it out'
            )
        return self

    @model_validator(mode="after")
    def _semantic_maps_have_one_grid(self) -> DtopConfig:
        if self.semantic is None:
            return self
        places = []  # of what halves the grid: in front of which block, and its field
        if self.shrink is not None:
            places.append((self.shrink.block, "shrink.block"))
        if self.pruning.build().halving is not None:
            places.append((self.backbone.taps[0] + 1, "the first of backbone.taps"))
        blocks = self.semantic.blocks
        for block, field in places:
            if blocks[0] < block <= blocks[-1]:
                raise ValueError(
                    f"semantic.blocks {list(blocks)} stand on both sides of {field}, where the grid is "
                    "halved, so that their maps cannot be summed: put all in front of it, or all behind"
                )
        return self

    @property
    def has_static_tokens(self) -> bool:
        return not self.pruning.build().can_prune

    @property
    def packs_images(self) -> bool:
        return True  # the heads read packed tokens even where none can leave

    def unpruned(self) -> MethodConfig:
        if self.has_static_tokens:
            return self
        return self.model_copy(update={"pruning": PruningConfig(threshold=1)})

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        del image_size
        assert isinstance(encoder, PlainViT)
        num_exits = len(encoder.config.taps) - 1
        heads = TokenHeads(encoder.embed_dim, num_exits, num_classes, self.decoder)
        if self.shrink is not None:
            add_shrinking(encoder, self.shrink)
        if self.semantic is not None:
            add_semantic_layers(encoder, self.semantic, num_classes)
        add_exits(encoder, self.pruning, [cast(ExitHead, head) for head in heads.exits])
        return SegmentationModel(encoder, heads, self.fresh_parts)

    @property
    def learns_absence(self) -> bool:
        return self.loss.learns_absence and "atm" in (self.decoder.kind, self.decoder.auxiliary)

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        from vitseg.losses.token_heads import TokenHeadsLoss

        return TokenHeadsLoss(self.loss, self.pixel_loss, class_weights)

    def prunable(self, state: StateDict) -> tuple[MethodConfig, StateDict]:
        return self, dict(state)
