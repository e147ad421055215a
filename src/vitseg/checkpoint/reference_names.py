"""What the dialects of foreign checkpoints share: renaming, and the entries that are left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable

from vitseg.errors import CheckpointError, first_names
from vitseg.types import StateDict

logger = logging.getLogger(__name__)

LEFT_OUT = {
    r"(^|\.)loss_decode\.criterion\.empty_weight$": "class weights of the loss, stored as a buffer",
    r"^auxiliary_head\.": "heads that only training uses",
    r"\.relative_position_index$": "a table that the model computes",
}
"""Entries of a checkpoint that our models do not have and do not need: pattern -> what they are. Any other entry that
a model lacks, and any that a file lacks, is an error."""


def is_left_out(name: str, patterns: Iterable[str] = LEFT_OUT) -> bool:
    """Whether an entry of a checkpoint is on a list of those that are left out."""
    return any(re.search(pattern, name) for pattern in patterns)


def rename_all(
    state: StateDict,
    rename: Callable[[str], str | None],
    model: str,
    left_out: Iterable[str] = LEFT_OUT,
) -> StateDict:
    """A reference's parameters under our names, as float32, without those that are left out.

    Args:
        state: Parameters by the reference's names.
        rename: Our name of one, or None for one that the model does not have.
        model: What the checkpoint was recognised as, for the error.
        left_out: Patterns of the entries that the model does not need.

    Raises:
        CheckpointError: A parameter has no name with us.
    """
    converted: StateDict = {}
    unknown = []
    for name, value in state.items():
        if is_left_out(name, left_out):
            continue
        ours = rename(name)
        if ours is None:
            unknown.append(name)
        else:
            converted[ours] = value.float()
    if unknown:
        raise CheckpointError(
            f"the checkpoint is of {model}, but also holds {first_names(unknown)}, which no published "
            "model has: only the published architectures can be converted."
        )
    names = [name for name in state if is_left_out(name, left_out)]
    if names:
        logger.info("left out: %s", ", ".join(names))
    return converted


def count(names: StateDict, pattern: str) -> int:
    """How many different numbers the group of a pattern matches at the start of the names."""
    found = (re.match(pattern, name) for name in names)
    return len({match[1] for match in found if match})


def shape_of(state: StateDict, name: str, num_axes: int) -> tuple[int, ...]:
    """The shape of a parameter.

    Raises:
        CheckpointError: It is missing, or has another number of axes.
    """
    if name not in state:
        raise CheckpointError(f"{name} is missing.")
    shape = tuple(state[name].shape)
    if len(shape) != num_axes:
        raise CheckpointError(f"{name} has the shape {shape}, but {num_axes} axes are expected.")
    return shape
