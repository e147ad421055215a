"""Heads that classify tokens one by one: at the exits of token pruning, and behind its last block.

Source: DToP (ICCV 2023), section 3.3; thesis section 5.2.3, as the published weights compute it. Every exit has a head
of its own, with its own class queries; no head hands queries to the next. "atm" is a stage of SegViT's decoder with
two class logits (present, absent); "fcn" is SETR's Naive head, whose convolutions see one token each.

What a head says of the tokens that are left overwrites what earlier heads said of them. Of the others the last word
stays: mask logits, which the class probabilities of every later head still weigh, or class logits of an "fcn".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.config import given_fields
from vitseg.decoders.atm import INIT, AtmConfig, AtmInit, AtmStage, atm_width, init_linear
from vitseg.decoders.setr import UpsamplingHead
from vitseg.features import AliveTokens, Features
from vitseg.layers.ragged import RaggedTokens, images_of
from vitseg.outputs import CellPresence, ClassLogits, SegOutput

HEAD_DIM = 64
"""Channels per attention head in the published models for ADE20K."""

HeadKind = Literal["atm", "fcn"]


class TokenHeadsConfig(BaseModel):
    """The kinds of the heads, and what belongs to those of kind "atm"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: HeadKind = Field(
        default="atm",
        description="the last head: attention-to-mask, or SETR's Naive head (per token)",
    )
    auxiliary: HeadKind = Field(default="atm", description="the heads at the exits, likewise")
    embed_dim: int | None = Field(
        default=None, ge=1, description="atm: width; half the backbone's where not given"
    )
    num_heads: int | None = Field(
        default=None, ge=1, description="atm: attention heads; one per 64 channels where not given"
    )
    num_layers: int = Field(default=3, ge=1, description="atm: decoder layers")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="atm: dropout rate in training")
    init: AtmInit = Field(default="published", description=f"atm: {INIT}")

    @model_validator(mode="after")
    def _fields_belong_to_atm(self) -> TokenHeadsConfig:
        given = given_fields(self, but=("kind", "auxiliary"))
        if "atm" not in (self.kind, self.auxiliary) and given:
            raise ValueError(
                f'{", ".join(given)} belong to heads "atm", but there are none: leave them out'
            )
        return self


class TokenScores(NamedTuple):
    """What a head says.

    Attributes:
        logits: Of every token: mask logits of the classes ("atm"), or class logits ("fcn").
        class_logits: Of every image and class, present and absent; None: an "fcn".
    """

    logits: Float[Tensor, "n k"]
    class_logits: Float[Tensor, "b k 2"] | None


class TokenHead(nn.Module, ABC):
    """A head that classifies packed tokens, and puts what it says over what earlier heads said."""

    @abstractmethod
    def forward(self, tokens: RaggedTokens) -> TokenScores:
        """Read the tokens of all images."""

    @abstractmethod
    def probs(self, scores: TokenScores, tokens: RaggedTokens) -> Float[Tensor, "n k"]:
        """Class probabilities of the tokens that were read."""

    @abstractmethod
    def output(
        self, scores: TokenScores, alive: AliveTokens, before: Float[Tensor, "b k h w"] | None
    ) -> SegOutput:
        """The prediction of all cells.

        Args:
            scores: Of the tokens that are left.
            alive: They themselves.
            before: What `as_before` made of the last prediction before tokens left; None: none has left.
        """

    @abstractmethod
    def as_before(self, output: SegOutput) -> Float[Tensor, "b k h w"]:
        """An earlier prediction in the terms of this head's logits; ours, thesis table 5.6 does not say how."""

    def read(
        self, alive: AliveTokens, settled: SegOutput | None, name: str
    ) -> tuple[SegOutput, Float[Tensor, "n k"]]:
        """See `vitseg.backbones.steps.exit.ExitHead`."""
        scores = self(alive.tokens)
        before = None if settled is None else self.as_before(settled)
        output = replace(self.output(scores, alive, before), name=name)
        return output, self.probs(scores, alive.tokens)

    def last(self, alive: AliveTokens, settled: SegOutput | None) -> SegOutput:
        """The prediction behind the last block."""
        scores = self(alive.tokens)
        before = None if settled is None else self.as_before(settled)
        return self.output(scores, alive, before)


class AtmTokenHead(TokenHead):
    """One attention-to-mask stage on packed tokens."""

    def __init__(self, in_channels: int, num_classes: int, config: TokenHeadsConfig):
        super().__init__()
        width = config.embed_dim or in_channels // 2
        atm = AtmConfig(
            embed_dim=width,
            num_heads=config.num_heads or max(1, width // HEAD_DIM),
            num_layers=config.num_layers,
            dropout=config.dropout,
            init=config.init,
        )
        embed_dim, num_heads = atm_width(atm, (in_channels,))
        self.query_embed = nn.Embedding(num_classes, embed_dim)
        self.stage = AtmStage(in_channels, embed_dim, num_heads, atm)
        self.class_embed = nn.Linear(embed_dim, 2)
        init_linear(self.class_embed, config.init)
        nn.init.normal_(self.query_embed.weight)

    def forward(self, tokens: RaggedTokens) -> TokenScores:
        """Read the tokens of all images."""
        queries = self.query_embed.weight.expand(len(tokens.lengths), -1, -1)
        queries, masks = self.stage.on_tokens(queries, tokens)
        return TokenScores(masks.T, self.class_embed(queries))

    def probs(self, scores: TokenScores, tokens: RaggedTokens) -> Float[Tensor, "n k"]:
        assert scores.class_logits is not None
        present = scores.class_logits.softmax(-1)[..., 0]  # (b, k)
        return scores.logits.sigmoid() * present[images_of(tokens.lengths, present.device)]

    def output(
        self, scores: TokenScores, alive: AliveTokens, before: Float[Tensor, "b k h w"] | None
    ) -> CellPresence:
        assert scores.class_logits is not None
        masks = on_grid(scores.logits, alive, before)
        return CellPresence(
            masks, alive.input_size, alive.cover.padded_size, class_logits=scores.class_logits
        )

    def as_before(self, output: SegOutput) -> Float[Tensor, "b k h w"]:
        """Mask logits as they are. Ours of class logits: mask logits whose sigmoid is their probability.

        The last head's classes then weigh these as they weigh all masks.
        """
        if isinstance(output, CellPresence):
            return output.mask_logits
        probs = output.mask_logits.float().softmax(1)
        return torch.logit(probs, torch.finfo(torch.float32).eps)


class FcnTokenHead(TokenHead):
    """SETR's Naive head: LayerNorm, 1 x 1 convolution with BatchNorm, classifier."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.head = UpsamplingHead(in_channels, num_classes, kernel_size=1, scales=(1,))

    def forward(self, tokens: RaggedTokens) -> TokenScores:
        """Read the tokens of all images."""
        column = tokens.tokens.T[None, :, :, None]  # (1, c, n, 1)
        return TokenScores(self.head(column)[0, :, :, 0].T, None)

    def probs(self, scores: TokenScores, tokens: RaggedTokens) -> Float[Tensor, "n k"]:
        del tokens
        return scores.logits.softmax(-1)

    def output(
        self, scores: TokenScores, alive: AliveTokens, before: Float[Tensor, "b k h w"] | None
    ) -> ClassLogits:
        logits = on_grid(scores.logits, alive, before)
        return ClassLogits(logits, alive.input_size, alive.cover.padded_size)

    def as_before(self, output: SegOutput) -> Float[Tensor, "b k h w"]:
        """Class logits as they are. Ours of masks and classes: the logarithm of their product."""
        if not isinstance(output, CellPresence):
            return output.mask_logits
        return output.cell_scores().clamp_min(torch.finfo(torch.float32).eps).log()

    def last(self, alive: AliveTokens, settled: SegOutput | None) -> SegOutput:
        """As of every head. Beside logarithms of products, its own logits are those of their softmax."""
        if not isinstance(settled, CellPresence):
            return super().last(alive, settled)
        scores = self(alive.tokens)
        scores = scores._replace(logits=F.log_softmax(scores.logits, -1))
        return self.output(scores, alive, self.as_before(settled))


def create_token_head(
    kind: HeadKind, in_channels: int, num_classes: int, config: TokenHeadsConfig
) -> TokenHead:
    """A head of a kind."""
    if kind == "atm":
        return AtmTokenHead(in_channels, num_classes, config)
    return FcnTokenHead(in_channels, num_classes)


class TokenHeads(nn.Module):
    """The heads of all exits, and the last one.

    Args:
        in_channels: Width of the tokens.
        num_exits: Exits.
        num_classes: Classes.
        config: See `TokenHeadsConfig`.
    """

    def __init__(
        self, in_channels: int, num_exits: int, num_classes: int, config: TokenHeadsConfig
    ):
        super().__init__()
        self.config = config
        self.exits = nn.ModuleList(
            create_token_head(config.auxiliary, in_channels, num_classes, config)
            for _ in range(num_exits)
        )
        self.head = create_token_head(config.kind, in_channels, num_classes, config)

    def forward(self, features: Features) -> SegOutput:
        """The prediction behind the last block."""
        head = self.head
        assert isinstance(head, TokenHead)
        return head.last(features.alive, features.settled)


def on_grid(
    logits: Float[Tensor, "n k"], alive: AliveTokens, before: Float[Tensor, "b k h w"] | None
) -> Float[Tensor, "b k h w"]:
    """The logits of the tokens on the grid, over those from before; 0 where there are none."""
    tokens, (height, width) = alive.tokens, alive.cover.grid
    batch, num_cells = len(tokens.lengths), height * width
    cells = logits  # (n, k): of all cells in order, unless some are gone
    if before is not None or cells.shape[0] != batch * num_cells:
        if before is None:
            canvas = cells.new_zeros(batch * num_cells, cells.shape[1])
        else:
            canvas = before.permute(0, 2, 3, 1).flatten(0, 2).to(cells.dtype)
        cells = canvas.index_copy(0, tokens.rows(num_cells), cells)
    return cells.view(batch, height, width, -1).permute(0, 3, 1, 2)
