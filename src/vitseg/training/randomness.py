"""Random numbers of a training, as a function of where it stands: nothing of them has to be stored."""

from __future__ import annotations

import random

import numpy as np
import torch

_STEPS = 2
"""Tells the streams of the steps from those of the samples, which have the same seed."""


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_step(seed: int, iteration: int, rank: int, micro_batch: int = 0) -> None:
    """Seed torch for one step, or a micro-batch of it: drop path, dropout, and what losses draw.

    So a run goes on exactly wherever it was stopped, and each of several processes has its own numbers.

    Args:
        seed: Of the run.
        iteration: Steps before this one.
        rank: Number of the process.
        micro_batch: Number of the micro-batch within the step.
    """
    further = (micro_batch,) if micro_batch else ()  # the first one draws what a whole batch does
    sequence = np.random.SeedSequence((seed, _STEPS, iteration, rank, *further))
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
