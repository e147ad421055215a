"""Which tokens leave at an exit: the pruning rules of DToP, one class each, on the packed tokens of a batch.

Source: DToP (ICCV 2023), sections 3.2 and 3.4; thesis sections 5.2.2-5.2.4 and tables 5.5, 5.8. The thesis prunes at a
confidence of the threshold or more; the published models, and we, at more.

Our choices, where neither text nor code says anything: prefix tokens never leave; the means of rule "average" are
tokens without a place, which stay to the end, are attended to and are read by no head. An image always keeps a token:
where all would leave, the least confident stays, so that later heads have something to read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vitseg.backbones.stream import TokenStream
from vitseg.errors import unknown_name
from vitseg.layers.ragged import images_of, lengths_of


class PruningConfig(BaseModel):
    """Which tokens leave at an exit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = Field(
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
    def _known_rule(self) -> PruningConfig:
        if self.rule not in RULES:
            raise ValueError(f"rule: {unknown_name('rule', self.rule, RULES)}")
        return self

    @model_validator(mode="after")
    def _exits_increase(self) -> PruningConfig:
        exits = self.exits
        if exits is not None and (list(exits) != sorted(set(exits)) or exits[0] < 0):
            raise ValueError(f"exits must be increasing numbers from 0, got {list(exits)}")
        if exits is not None and RULES[self.rule].halving is not None:
            raise ValueError(
                f"exits belongs to the rules that look at tokens, but rule is {self.rule}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fields_belong_to_rule(self) -> PruningConfig:
        for name in ("threshold", "keep_per_class", "share"):
            rules = [rule for rule, kind in RULES.items() if name in kind.fields]
            default = type(self).model_fields[name].default
            if self.rule not in rules and getattr(self, name) != default:
                raise ValueError(
                    f"{name} belongs to rule {' or '.join(rules)}, but rule is {self.rule}: leave it out"
                )
        return self

    def build(self) -> PruningRule:
        """The rule."""
        return RULES[self.rule](self)


class Leaving(NamedTuple):
    """What a rule says of the tokens that a head has read.

    Attributes:
        leaves: Whether a token leaves.
        classes: Its most probable class.
    """

    leaves: Bool[Tensor, " n"]
    classes: Int[Tensor, " n"]


class Gone(NamedTuple):
    """The tokens that have left.

    Attributes:
        tokens: They themselves.
        images: Their images.
        classes: Their classes.
        num_classes: Classes that there are.
    """

    tokens: Float[Tensor, "m c"]
    images: Int[Tensor, " m"]
    classes: Int[Tensor, " m"]
    num_classes: int


class PruningRule:
    """Who leaves at an exit, and what stays in their place.

    Attributes:
        fields: Fields of `PruningConfig` that belong to the rule.
        halving: How the grid is halved behind the only exit, where nobody looks at the tokens (`steps/halve.py`).
        makes_strays: Whether it makes tokens that stand nowhere.
        config: Its settings.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    halving: ClassVar[str | None] = None
    makes_strays: ClassVar[bool] = False

    def __init__(self, config: PruningConfig):
        self.config = config

    @property
    def can_prune(self) -> bool:
        """Whether any token can ever leave."""
        return self.halving is None

    def acts_at(self, number: int) -> bool:
        """Whether tokens can leave at an exit, by its number from 0."""
        exits = self.config.exits
        return self.can_prune and (exits is None or number in exits)

    def leaves(self, probs: Float[Tensor, "n k"], lengths: tuple[int, ...]) -> Leaving:
        """Who leaves.

        Args:
            probs: Class probabilities of the tokens of all images, one image after the other.
            lengths: Tokens of each image.
        """
        raise NotImplementedError

    def after(self, stream: TokenStream, gone: Gone) -> TokenStream:
        """The stream of those that stay, with what comes in place of the others: nothing.

        Args:
            stream: Those that stay.
            gone: Those that have left.
        """
        del gone
        return stream


class Remove(PruningRule):
    """All tokens of a confident class."""

    fields = ("threshold",)

    @property
    def can_prune(self) -> bool:
        return self.config.threshold < 1

    def leaves(self, probs: Float[Tensor, "n k"], lengths: tuple[int, ...]) -> Leaving:
        confidence, classes = probs.max(-1)
        images = images_of(lengths, probs.device)
        leaves = confidence > self.config.threshold
        is_last = rank_within(images, -confidence, len(lengths)) == 0
        stays = images.new_zeros(len(lengths)).index_add_(0, images, (~leaves).long())
        return Leaving(leaves & ~(is_last & (stays == 0)[images]), classes)


class TopK(Remove):
    """All tokens of a confident class but for the most confident of each class and image."""

    fields = ("threshold", "keep_per_class")

    def leaves(self, probs: Float[Tensor, "n k"], lengths: tuple[int, ...]) -> Leaving:
        confidence, classes = probs.max(-1)
        groups = images_of(lengths, probs.device) * probs.shape[1] + classes
        is_spare = (
            rank_within(groups, confidence, len(lengths) * probs.shape[1])
            >= self.config.keep_per_class
        )
        return Leaving((confidence > self.config.threshold) & is_spare, classes)


class Average(Remove):
    """As `Remove`, and the mean of those that left an image, by class, stays as a token that stands nowhere."""

    makes_strays = True

    def after(self, stream: TokenStream, gone: Gone) -> TokenStream:
        positions = stream.positions
        assert positions.index is not None and positions.lengths is not None
        num_images = len(positions.lengths)
        # By image first: the means of an image stand behind its own tokens, in the order of their classes.
        groups = gone.images * gone.num_classes + gone.classes
        sums = gone.tokens.new_zeros(num_images * gone.num_classes, gone.tokens.shape[1])
        sums = sums.index_add_(0, groups, gone.tokens)
        sizes = group_sizes(groups, len(sums))
        names = sizes.nonzero()[:, 0]
        means = sums[names] / sizes[names, None]
        owners = images_of(positions.lengths, means.device)
        images = torch.cat([owners, names // gone.num_classes])
        order = images.argsort(stable=True)
        index = torch.cat([positions.index, names.new_full(names.shape, -1)])[order]
        lengths = lengths_of(images, num_images)
        x = torch.cat([stream.x[0], means])[order][None]
        positions = replace(positions, index=index, lengths=lengths, has_strays=True)
        return replace(stream, x=x, positions=positions)


class Share(PruningRule):
    """The most confident share of each image's tokens."""

    fields = ("share",)

    def leaves(self, probs: Float[Tensor, "n k"], lengths: tuple[int, ...]) -> Leaving:
        confidence, classes = probs.max(-1)
        images = images_of(lengths, probs.device)
        quota = (torch.tensor(lengths, device=probs.device) * self.config.share).long()  # (b,)
        return Leaving(rank_within(images, confidence, len(lengths)) < quota[images], classes)


class Convolution(PruningRule):
    """A learned 2 x 2 convolution of the grid."""

    halving = "conv"


class AveragePool(PruningRule):
    """The mean of every 2 x 2 tokens."""

    halving = "average_pool"


class Nearest(PruningRule):
    """The top-left token of every 2 x 2."""

    halving = "nearest"


RULES: dict[str, type[PruningRule]] = {
    "top_k": TopK,
    "remove": Remove,
    "average": Average,
    "share": Share,
    "conv": Convolution,
    "average_pool": AveragePool,
    "nearest": Nearest,
}


def group_sizes(groups: Int[Tensor, " n"], num_groups: int) -> Int[Tensor, " g"]:
    """Members of every group, of their groups' numbers."""
    return groups.new_zeros(num_groups).index_add_(0, groups, torch.ones_like(groups))


def rank_within(
    groups: Int[Tensor, " n"], values: Float[Tensor, " n"], num_groups: int
) -> Int[Tensor, " n"]:
    """Rank of every value among those of its group, from 0 for the highest; of equals, the first comes first."""
    order = values.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    sizes = group_sizes(groups, num_groups)
    start = sizes.cumsum(0) - sizes  # of every group among the sorted values
    place = torch.arange(groups.shape[0], device=groups.device)
    return torch.empty_like(place).scatter_(0, order, place - start[groups[order]])
