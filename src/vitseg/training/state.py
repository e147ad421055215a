"""The training state on disk: enough to continue a run as if it had not stopped."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vitseg.errors import CheckpointError
from vitseg.runs import DIVERGED, RECIPE, STATE, changed_fields

AFTER_DIVERGENCE = frozenset(
    {
        "optimizer.lr",
        "optimizer.clip_grad_norm",
        "schedule.warmup_iterations",
        "training.precision",
    }
)
"""Fields that may change on the resume of a run that diverged, which it could not get over otherwise."""


@dataclass
class Progress:
    """How far a run is."""

    iteration: int = 0
    best_miou: float | None = None
    minutes: float = 0.0


def save_state(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, recipe: dict
) -> None:
    """Write the state; the previous one stays until the new one is complete."""
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "recipe": recipe,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    fresh = out / f".{STATE}.writing"
    torch.save(state, fresh)
    os.replace(fresh, out / STATE)
    (out / DIVERGED).unlink(missing_ok=True)  # what it allowed has become the recipe of the run


class SavedState:
    """What `save_state` wrote, read and found to be of the same recipe.

    Args:
        out: Folder of the run.
        recipe: The recipe that the run goes on with.

    Raises:
        CheckpointError: No state to continue from, or one of another recipe.
    """

    def __init__(self, out: Path, recipe: dict):
        path = out / STATE
        if not path.is_file():
            raise CheckpointError(
                f"{out} has no {STATE} to resume from: give the --out of an interrupted run, or train into a new "
                "folder without --resume."
            )
        self._state = torch.load(path, map_location="cpu", weights_only=True)
        changed = sorted(changed_fields(self._state["recipe"], recipe))
        if (out / DIVERGED).is_file():
            changed = [name for name in changed if name not in AFTER_DIVERGENCE]
        if changed:
            raise CheckpointError(
                f"{out} was started with another recipe: {', '.join(changed[:4])} changed. Resume with the recipe it "
                f"was started with ({RECIPE} there), or train into another --out."
            )

    def restore_model(self, model: nn.Module) -> None:
        """Give a model the weights that it had."""
        model.load_state_dict(self._state["model"])

    def restore(self, optimizer: torch.optim.Optimizer) -> Progress:
        """Give the optimiser and the random numbers their state; returns how far the run was."""
        optimizer.load_state_dict(self._state["optimizer"])
        torch.set_rng_state(self._state["torch_rng"])
        if self._state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self._state["cuda_rng"])
        return Progress(**self._state["progress"])


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
