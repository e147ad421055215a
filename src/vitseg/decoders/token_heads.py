"""Heads that classify tokens one by one: at the exits of token pruning, and behind its last block.

Source: DToP (ICCV 2023), section 3.3; thesis section 5.2.3, as the published weights compute it. Every exit has a head
of its own, with its own class queries; no head hands queries to the next. "atm" is a stage of SegViT's decoder with
two class logits (present, absent); "fcn" is SETR's Naive head, whose convolutions see one token each.

What a head says of the tokens that are left overwrites what earlier heads said of them. Of the others the last word
stays: mask logits, which the class probabilities of every later head still weigh, or class logits of an "fcn".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.backbones.pruned import AliveTokens
from vitseg.config import given_fields
from vitseg.decoders.atm import AtmConfig, AtmStage, atm_width
from vitseg.decoders.setr import UpsamplingHead
from vitseg.layers.presence import presence_probs
from vitseg.layers.ragged import RaggedTokens, images_of
from vitseg.types import SegOutput

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


class AtmTokenHead(nn.Module):
    """One attention-to-mask stage on packed tokens."""

    def __init__(self, in_channels: int, num_classes: int, config: TokenHeadsConfig):
        super().__init__()
        width = config.embed_dim or in_channels // 2
        atm = AtmConfig(
            embed_dim=width,
            num_heads=config.num_heads or max(1, width // HEAD_DIM),
            num_layers=config.num_layers,
            dropout=config.dropout,
        )
        embed_dim, num_heads = atm_width(atm, (in_channels,))
        self.query_embed = nn.Embedding(num_classes, embed_dim)
        self.stage = AtmStage(in_channels, embed_dim, num_heads, atm)
        self.class_embed = nn.Linear(embed_dim, 2)
        nn.init.trunc_normal_(self.class_embed.weight, std=0.02)
        nn.init.zeros_(self.class_embed.bias)
        nn.init.normal_(self.query_embed.weight)

    def forward(self, tokens: RaggedTokens) -> TokenScores:
        """Read the tokens of all images."""
        queries = self.query_embed.weight.expand(len(tokens.lengths), -1, -1)
        queries, masks = self.stage.on_tokens(queries, tokens)
        return TokenScores(masks.T, self.class_embed(queries))


class FcnTokenHead(nn.Module):
    """SETR's Naive head: LayerNorm, 1 x 1 convolution with BatchNorm, classifier."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.head = UpsamplingHead(in_channels, num_classes, kernel_size=1, scales=(1,))

    def forward(self, tokens: RaggedTokens) -> TokenScores:
        """Read the tokens of all images."""
        column = tokens.tokens.T[None, :, :, None]  # (1, c, n, 1)
        return TokenScores(self.head(column)[0, :, :, 0].T, None)


def create_token_head(
    kind: HeadKind, in_channels: int, num_classes: int, config: TokenHeadsConfig
) -> AtmTokenHead | FcnTokenHead:
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

    def read_exit(
        self, number: int, alive: AliveTokens, before: SegOutput | None
    ) -> tuple[SegOutput, Float[Tensor, "n k"]]:
        """The prediction at an exit, and the probabilities of the tokens that are left.

        Args:
            number: Of the exit.
            alive: The tokens.
            before: The prediction of the exit before.
        """
        scores = self.exits[number](alive.tokens)
        return self._output(scores, alive, before), token_probs(scores, alive.tokens)

    def forward(self, alive: AliveTokens, before: SegOutput | None) -> SegOutput:
        """The prediction behind the last block; `before` is that of the last exit, where it was run."""
        scores = self.head(alive.tokens)
        if before is not None and self.config.kind != self.config.auxiliary:
            before = _translated(before, self.config.kind)
            if self.config.kind == "fcn":
                scores = scores._replace(logits=F.log_softmax(scores.logits, -1))
        return self._output(scores, alive, before)

    def _output(
        self, scores: TokenScores, alive: AliveTokens, before: SegOutput | None
    ) -> SegOutput:
        """The scores of the tokens on the grid, over those of the heads before."""
        tokens, (height, width) = alive.tokens, alive.grid
        batch, num_cells = len(tokens.lengths), height * width
        cells = scores.logits  # (n, k): of all cells in order, unless some are gone
        if len(cells) != batch * num_cells:
            if before is None:
                canvas = cells.new_zeros(batch * num_cells, cells.shape[1])
            else:
                canvas = before.mask_logits.permute(0, 2, 3, 1).flatten(0, 2).to(cells.dtype)
            cells = canvas.index_copy(0, tokens.rows(num_cells), cells)
        masks = cells.view(batch, height, width, -1).permute(0, 3, 1, 2)
        readout = "logits" if scores.class_logits is None else "cell_presence"
        return SegOutput(masks, scores.class_logits, readout, alive.input_size, alive.padded_size)


def token_probs(scores: TokenScores, tokens: RaggedTokens) -> Float[Tensor, "n k"]:
    """Class probabilities of the tokens that a head has read."""
    if scores.class_logits is None:
        return scores.logits.softmax(-1)
    present = scores.class_logits.softmax(-1)[..., 0]  # (b, k)
    return scores.logits.sigmoid() * present[images_of(tokens.lengths, present.device)]


def _translated(output: SegOutput, kind: HeadKind) -> SegOutput:
    """A prediction in the terms of the other kind of head; thesis table 5.6 mixes them and does not say how.

    Ours: class logits become the mask logits whose sigmoid is their probability, which the last head's classes then
    weigh as they weigh all masks; masks and classes become the logarithm of their product, beside which the other
    tokens have the logarithm of their softmax.
    """
    eps = torch.finfo(torch.float32).eps
    if kind == "atm":
        probs = output.mask_logits.float().softmax(1)
        masks = torch.logit(probs, eps)
    else:
        assert output.class_logits is not None
        probs = presence_probs(output.mask_logits.float(), output.class_logits.float())
        masks = probs.clamp_min(eps).log()
    return SegOutput(masks, None, "logits", output.input_size, output.padded_size)
