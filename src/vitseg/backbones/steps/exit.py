"""Exits: tokens leave a plain ViT as soon as a head is sure of them.

Source: DToP (ICCV 2023), section 3; thesis section 5.2. The heads are not the backbone's: an exit asks the one that it
was handed for the class probabilities of the tokens that are left, and drops some by a rule (`exit_rules.py`). The
tokens of all images run as one packed sequence from then on: linear layers once over all, attention within an image.
The reference runs image by image instead.

With several images none waits for another: an image that keeps all its tokens is packed as well, once any other has
lost one. While nobody of several has lost one, nothing is packed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.backbones.steps.exit_rules import Gone, PruningConfig, PruningRule
from vitseg.backbones.steps.halve import add_halving
from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError
from vitseg.features import AliveTokens, ExitCells
from vitseg.layers.ragged import images_of
from vitseg.outputs import SegOutput


@runtime_checkable
class ExitHead(Protocol):
    """What judges the tokens at an exit."""

    def read(
        self, alive: AliveTokens, settled: SegOutput | None, name: str
    ) -> tuple[SegOutput, Float[Tensor, "n k"]]:
        """The prediction there, and the class probabilities of the tokens.

        Args:
            alive: The tokens that are left.
            settled: The prediction of the last exit at which tokens could leave; None: there was none.
            name: What the prediction is to be called.
        """
        ...


class Exit:
    """The step in place of a tap: its head judges the tokens, and its rule says who leaves.

    In evaluation an exit at which no token can leave does nothing.

    Args:
        number: Number of the exit, from 0.
        block: The block behind which it stands.
        vit: The backbone; heads read tokens behind its final norm.
        head: What judges them.
        rule: Who leaves; it may be replaced.
    """

    def __init__(self, number: int, block: int, vit: PlainViT, head: ExitHead, rule: PruningRule):
        self.number = number
        self.block = block
        self.vit = vit
        self.head = head
        self.rule = rule

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream of those that stay."""
        may_leave = self.rule.acts_at(self.number)
        if not may_leave and not stream.training:
            return stream
        alive = stream.alive(self.vit.norm(stream.x))
        output, probs = self.head.read(alive, stream.settled, f"exit_{self.block}")
        height, width = alive.cover.grid
        exits = (*stream.exits, ExitCells(self.block, alive.tokens.rows(height * width)))
        stream = replace(stream, stages=(*stream.stages, output), exits=exits)
        if not may_leave:
            return stream
        stream = replace(stream, settled=output)
        return pruned(stream, probs, alive.tokens.lengths, self.rule)


def pruned(
    stream: TokenStream, probs: Float[Tensor, "n k"], lengths: tuple[int, ...], rule: PruningRule
) -> TokenStream:
    """The tokens that stay, packed; of several images the stream as it came where all do.

    Args:
        stream: All tokens.
        probs: Class probabilities of those on the grid, one image after the other.
        lengths: Tokens on the grid of each image.
        rule: Who leaves.
    """
    positions = stream.positions
    if positions.lengths is None:
        positions = positions.packed(stream.batch_size, stream.x.device)
    assert positions.index is not None
    on_grid = positions.index >= positions.num_prefix_tokens
    leaves, classes = rule.leaves(probs.detach(), lengths)
    # packing costs one image alone nothing, and a graph of it holds nothing that depends on values but lengths
    if len(lengths) > 1 and not leaves.any():
        return stream
    stays = torch.ones_like(on_grid)
    stays[on_grid] = ~leaves
    rows = stays.nonzero()[:, 0]
    x = stream.x.flatten(0, 1)  # (n, c)
    kept = replace(stream, x=x[rows][None], positions=positions.select(rows))
    images = images_of(lengths, x.device)[leaves]
    return rule.after(kept, Gone(x[on_grid][leaves], images, classes[leaves], probs.shape[1]))


def add_exits(vit: PlainViT, config: PruningConfig, heads: Sequence[ExitHead]) -> None:
    """Put an exit behind every tap of a ViT but the last.

    Args:
        vit: The backbone.
        config: Who leaves.
        heads: What judges the tokens, one per exit.

    Raises:
        ConfigError: There is no exit, or the rule does not fit the backbone.
    """
    taps = list(vit.config.taps)
    rule = config.build()
    if len(taps) < 2:
        raise ConfigError(
            f"backbone.taps {taps} leave no exit: name the blocks behind which tokens may leave, and then the one "
            "that the last head reads."
        )
    if rule.halving is not None and len(taps) != 2:
        raise ConfigError(
            f"pruning.rule {config.rule} halves the grid once, but backbone.taps {taps} have {len(taps) - 1} "
            "exits: name two blocks."
        )
    require_known_exits(config, len(taps) - 1)
    if rule.makes_strays and vit.knows_positions:
        raise ConfigError(
            f"pruning.rule {config.rule} makes tokens that stand nowhere, but the attention of {vit.config.name} asks "
            "where its tokens stand: choose another rule, or a ViT with absolute positions."
        )
    for number, (block, head) in enumerate(zip(taps[:-1], heads, strict=True)):
        vit.without_tap(block)
        vit.step_behind(block, Exit(number, block, vit, head, rule))
        if rule.halving is not None:
            add_halving(vit, block, rule.halving)


def exits_of(vit: PlainViT) -> Iterator[Exit]:
    """The exits of a ViT, first to last."""
    return (step for steps in vit.steps for step in steps if isinstance(step, Exit))


def pruning_of(vit: PlainViT) -> PruningRule:
    """The rule of a ViT's exits.

    Raises:
        ConfigError: It has none.
    """
    for step in exits_of(vit):
        return step.rule
    raise ConfigError(f"{vit.config.name} has no exits here, so no token can leave it.")


def set_pruning(vit: PlainViT, config: PruningConfig) -> None:
    """Give the exits of a ViT another rule, for another threshold of a trained model.

    Raises:
        ConfigError: The ViT lacks an exit that the rule names.
    """
    exits = list(exits_of(vit))
    require_known_exits(config, len(exits))
    rule = config.build()
    for step in exits:
        step.rule = rule


def require_known_exits(config: PruningConfig, num_exits: int) -> None:
    """Raise ConfigError unless a ViT with this many exits has all that are named."""
    if config.exits is not None and config.exits[-1] >= num_exits:
        raise ConfigError(
            f"pruning.exits {list(config.exits)} goes past the depth: backbone.taps make {num_exits} exits, numbered "
            f"from 0 to {num_exits - 1}."
        )
