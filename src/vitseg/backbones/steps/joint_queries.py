"""Queries that join the tokens in front of a ViT's last blocks and go through them like tokens.

Source: EoMT (CVPR 2025), section 3. No reference code was used; what the text leaves open is said where it is decided.

Queries stand where no patch does, as prefix tokens do: rotary positions do not turn them, and BEiT's relative bias
treats them as class tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions, with_unrotated_prefix
from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError
from vitseg.outputs import SegOutput
from vitseg.types import Size


@dataclass(frozen=True)
class JointTokens:
    """What queries and patches are at some depth, behind the backbone's final norm.

    Attributes:
        queries: The queries.
        patches: The patches as a map over `padded_size`.
        input_size: Of the images.
        padded_size: Of the images padded to whole patches.
    """

    queries: Float[Tensor, "b q c"]
    patches: Float[Tensor, "b c h w"]
    input_size: Size
    padded_size: Size


@runtime_checkable
class JointHead(Protocol):
    """What reads queries and patches in front of the joint blocks, in training and where it is shown."""

    def queries(self) -> Float[Tensor, "q c"]:
        """The queries, the same for every image."""
        ...

    def read(
        self, number: int, tokens: JointTokens
    ) -> tuple[SegOutput | None, Bool[Tensor, "b q n"] | None]:
        """The prediction in front of joint block `number`, and the patches that each query may attend to there.

        None: there is no prediction; all patches.
        """
        ...


class JoinQueries:
    """The step that puts the queries in front of the tokens."""

    def __init__(self, head: JointHead):
        self.head = head

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The joint sequence."""
        queries = self.head.queries()
        x = torch.cat(
            [queries.to(stream.x.dtype).expand(stream.x.shape[0], -1, -1), stream.x], dim=1
        )
        positions = _with_queries(stream.positions, len(queries))
        return replace(stream, x=x, positions=positions, num_queries=len(queries))


class ReadQueries:
    """The step in front of a joint block: in training the head predicts, and may hold queries to some patches.

    Args:
        number: Number of the joint block, from 0.
        vit: The backbone; its final norm is applied wherever tokens are read.
        head: What reads.

    Attributes:
        is_shown: Whether the head predicts in evaluation, too; see `all_shown`.
    """

    def __init__(self, number: int, vit: PlainViT, head: JointHead):
        self.number = number
        self.vit = vit
        self.head = head
        self.is_shown = False

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream, with the prediction and what the queries may attend to in the next block."""
        if not stream.training and not self.is_shown:
            return stream
        x = self.vit.norm(stream.x)
        queries, patches = x[:, : stream.num_queries], stream.as_map(x)
        tokens = JointTokens(queries, patches, stream.input_size, stream.padded_size)
        output, allowed = self.head.read(self.number, tokens)
        mask = None
        if allowed is not None and stream.training:
            mask = _joint_mask(allowed, stream.positions)
        stages = stream.stages if output is None else (*stream.stages, output)
        return replace(stream, mask=mask, stages=stages)


def add_joint_queries(vit: PlainViT, num_blocks: int, head: JointHead) -> None:
    """Let queries go through the last blocks of a ViT.

    Args:
        vit: The backbone.
        num_blocks: Blocks, the last ones, that take queries.
        head: What has the queries and reads them.

    Raises:
        ConfigError: The ViT has fewer blocks.
    """
    if num_blocks > len(vit.blocks):
        raise ConfigError(
            f"decoder.num_blocks is {num_blocks}, but the backbone has {len(vit.blocks)} blocks up to its tap: "
            "choose no more than these."
        )
    first = len(vit.blocks) - num_blocks
    vit.step_before(first, JoinQueries(head))
    for number in range(num_blocks):
        vit.step_before(first + number, ReadQueries(number, vit, head))


@contextmanager
def all_shown(model: nn.Module) -> Iterator[None]:
    """In it, a model in evaluation predicts in front of its joint blocks, too; what it predicts behind them stays.

    The model itself is changed meanwhile: one thread at a time.
    """
    steps = [
        step
        for vit in model.modules()
        if isinstance(vit, PlainViT)
        for steps in vit.steps
        for step in steps
        if isinstance(step, ReadQueries)
    ]
    for step in steps:
        step.is_shown = True
    try:
        yield
    finally:
        for step in steps:
            step.is_shown = False


def _with_queries(positions: TokenPositions, num_queries: int) -> TokenPositions:
    """Positions of the sequence with queries in front."""
    rotary = positions.rotary
    return replace(
        positions,
        num_prefix_tokens=positions.num_prefix_tokens + num_queries,
        rotary=None if rotary is None else with_unrotated_prefix(rotary, num_queries),
    )


def _joint_mask(allowed: Bool[Tensor, "b q n"], positions: TokenPositions) -> Bool[Tensor, "b m m"]:
    """Who may attend to whom in the whole sequence: only from queries to patches is anything forbidden.

    The prefix tokens and the other queries stay open to a query, so that one whose mask is empty still sees something.
    """
    batch, num_queries, num_patches = allowed.shape
    length = positions.num_prefix_tokens + num_patches
    mask = torch.ones(batch, length, length, dtype=torch.bool, device=allowed.device)
    mask[:, :num_queries, positions.num_prefix_tokens :] = allowed
    return mask
