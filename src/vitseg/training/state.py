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

STATE = "state.ckpt"


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


def load_state(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: dict
) -> Progress:
    """Restore model, optimiser and random state.

    Raises:
        CheckpointError: No state to continue from, or one of another recipe.
    """
    path = out / STATE
    if not path.is_file():
        raise CheckpointError(
            f"{out} has no {STATE} to resume from: give the --out of an interrupted run, or train into a new folder "
            "without --resume."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    changed = sorted(changed_fields(state["recipe"], recipe))
    if changed:
        raise CheckpointError(
            f"{out} was started with another recipe: {', '.join(changed[:4])} changed. Resume with the recipe it "
            "was started with (recipe.yaml there), or train into another --out."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return Progress(**state["progress"])


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def changed_fields(old: Any, new: Any, prefix: str = "") -> set[str]:
    """Dotted names of the values in which two nested mappings differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        changed: set[str] = set()
        for key in old.keys() | new.keys():
            changed |= changed_fields(old.get(key), new.get(key), f"{prefix}{key}.")
        return changed
    return set() if old == new else {prefix.rstrip(".")}
