"""Which tokens leave a plain ViT early: the pruning rules of DToP, on the packed tokens of a batch.

Source: DToP (ICCV 2023), sections 3.2 and 3.4; thesis sections 5.2.2-5.2.4 and tables 5.5, 5.8. The thesis prunes at a
confidence of the threshold or more; the published models, and we, at more.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.layers.ragged import images_of

CONFIDENCE_RULES = ("top_k", "remove", "average")
SYMMETRIC_RULES = ("conv", "average_pool", "nearest")

Rule = Literal["top_k", "remove", "average", "share", "conv", "average_pool", "nearest"]


class PruningConfig(BaseModel):
    """Which tokens leave at an exit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Rule = Field(
        default="top_k",
        description="top_k: tokens of a confident class, but for the most confident of each (DToP); remove: all of "
        "them; average: all of them, and one token per class with their mean stays; share: the most confident share of "
        "each image's tokens; conv, average_pool, nearest: no exits, but a 2 x 2 learned convolution, mean or "
        "top-left token of every four (table 5.8's symmetric baselines)",
    )
    threshold: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="confidence, in (0, 1], above which a token leaves; 1: none does, and in evaluation the exits' "
        "heads are not run",
    )
    keep_per_class: int = Field(
        default=5,
        ge=1,
        description="rule top_k: confident tokens of every class of an image that stay (k)",
    )
    share: float = Field(
        default=0.35, gt=0, lt=1, description="rule share: of an image's tokens, that leaves"
    )
    exits: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="numbers of the exits, from 0, at which tokens may leave; null: all. The heads of the others "
        "are not run in evaluation",
    )

    @model_validator(mode="after")
    def _exits_increase(self) -> PruningConfig:
        exits = self.exits
        if exits is not None and (list(exits) != sorted(set(exits)) or exits[0] < 0):
            raise ValueError(f"exits must be increasing numbers from 0, got {list(exits)}")
        if exits is not None and self.is_symmetric:
            raise ValueError(
                f"exits belongs to the rules that look at tokens, but rule is {self.rule}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fields_belong_to_rule(self) -> PruningConfig:
        users = {"threshold": CONFIDENCE_RULES, "keep_per_class": ("top_k",), "share": ("share",)}
        for name, rules in users.items():
            default = type(self).model_fields[name].default
            if self.rule not in rules and getattr(self, name) != default:
                raise ValueError(
                    f"{name} belongs to rule {' or '.join(rules)}, but rule is {self.rule}: leave it out"
                )
        return self

    @property
    def is_symmetric(self) -> bool:
        """Whether tokens become fewer by the same share everywhere, whatever they show."""
        return self.rule in SYMMETRIC_RULES

    @property
    def never_prunes(self) -> bool:
        """Whether no token can ever leave."""
        return self.rule in CONFIDENCE_RULES and self.threshold == 1

    def acts_at(self, number: int) -> bool:
        """Whether tokens can leave at an exit, by its number from 0."""
        if self.is_symmetric or self.never_prunes:
            return False
        return self.exits is None or number in self.exits


@torch.no_grad()
def leaving_tokens(
    probs: Float[Tensor, "n k"], lengths: tuple[int, ...], config: PruningConfig
) -> tuple[Bool[Tensor, " n"], Int[Tensor, " n"]]:
    """Who leaves, and the most probable class of every token.

    An image always keeps a token: where all would leave, the least confident stays, so that later heads have something
    to read.

    Args:
        probs: Class probabilities of the tokens of all images, one image after the other.
        lengths: Tokens of each image.
        config: The rule, one of those that look at the tokens.
    """
    confidence, classes = probs.max(-1)
    images = images_of(lengths, probs.device)
    if config.rule == "share":
        counts = torch.tensor(lengths, device=probs.device)
        quota = (counts * config.share).long()  # (b,) rounded down
        return rank_within(images, confidence) < quota[images], classes
    leaves = confidence > config.threshold
    if config.rule == "top_k":
        groups = images * probs.shape[1] + classes
        return leaves & (rank_within(groups, confidence) >= config.keep_per_class), classes
    is_last = rank_within(images, -confidence) == 0
    stays = images.new_zeros(len(lengths)).index_add_(0, images, (~leaves).long())
    return leaves & ~(is_last & (stays == 0)[images]), classes


def rank_within(groups: Int[Tensor, " n"], values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Rank of every value among those of its group, from 0 for the highest; of equals, the first comes first."""
    order = values.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    grouped = groups[order]
    place = torch.arange(len(groups), device=groups.device)
    is_first = torch.ones_like(grouped, dtype=torch.bool)
    is_first[1:] = grouped[1:] != grouped[:-1]
    start = torch.where(is_first, place, 0).cummax(0).values
    return torch.empty_like(place).scatter_(0, order, place - start)
