"""The batch of an optimiser step that comes in several micro-batches: its labels, of which normalisers are.

A loss is a sum over masks, pixels or tokens, divided by how many there are. Of a batch that is trained on in parts,
each part's sum has to be divided by the number in the whole batch, else images of parts with little to see would count
more. What a loss divides by follows from labels, and those of all parts are known before the first one is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.processes import mean_over_processes, num_processes

_held: list[Tensor] = []


@contextmanager
def micro_batches_of(labels: Int[Tensor, "B H W"]) -> Iterator[None]:
    """Within it, labels that a loss is given are some of these: of a micro-batch of this process.

    All micro-batches have the same number of images.

    Args:
        labels: Of this process' images of the step.
    """
    _held.append(labels)
    try:
        yield
    finally:
        _held.clear()


def step_labels(labels: Int[Tensor, "b H W"]) -> Int[Tensor, "B H W"]:
    """The labels of all micro-batches of this process.

    Args:
        labels: Of the micro-batch at hand, which is all where nothing is accumulated.
    """
    return _held[0] if _held else labels


def mean_over_step(
    total: Shaped[Tensor, ""],
    labels: Int[Tensor, "b H W"],
    whole: Int[Tensor, "B H W"],
    at_least: float = 0.0,
) -> Float[Tensor, ""]:
    """What a sum over one micro-batch is divided by: the mean over all micro-batches of all processes, above 0.

    Args:
        total: What is counted, in all micro-batches of this process.
        labels: Of the micro-batch at hand.
        whole: Of all micro-batches of this process, see `step_labels`.
        at_least: The number in all batches together counts as no less.

    Returns:
        The mean; 1 where there is nothing to count.
    """
    parts = len(whole) // len(labels)
    mean = mean_over_processes(total if parts == 1 else total / parts)
    if at_least:
        return mean.clamp(min=at_least / (parts * num_processes()))
    return mean.where(mean > 0, 1.0)


def labelled_pixels(labels: Int[Tensor, "b H W"]) -> Float[Tensor, ""]:
    """The number of labelled pixels, as `mean_over_step` has it; at least one in all batches together.

    Args:
        labels: Class indices or IGNORE_INDEX of the micro-batch at hand.
    """
    whole = step_labels(labels)
    return mean_over_step((whole != IGNORE_INDEX).sum(), labels, whole, at_least=1.0)
