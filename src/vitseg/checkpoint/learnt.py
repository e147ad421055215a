"""What a model learnt when, with hashes of the parameters that hold it: the guarantee that nothing is forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date

import torch
from jaxtyping import Shaped
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.errors import CheckpointError, first_names
from vitseg.types import StateDict


class LearntTask(BaseModel):
    """A set of classes that were learnt together, as a model directory remembers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = Field(description="their names when they were learnt, index order")
    learnt_on: date | None = Field(default=None, description="day, where it is known")
    source: str | None = Field(default=None, description="name of the data set, where it is known")
    images: int | None = Field(default=None, description="training images, where it is known")
    content_hash: str | None = Field(default=None, description="hash of the training split")
    iterations: int | None = Field(default=None, description="optimiser steps")
    seed: int | None = Field(default=None, description="seed of the training")
    minutes: float | None = Field(default=None, description="how long training took")
    compared_images: int = Field(
        default=0,
        description="images on which the scores of all earlier classes were found the same, bit by bit, when the task "
        "was added",
    )
    tensors: dict[str, str] = Field(
        description="SHA-256 of every parameter of the task by its name; the first task has the backbone's, too"
    )


def tensor_hash(value: Shaped[Tensor, "..."]) -> str:
    """SHA-256 of type, shape and content of a tensor."""
    digest = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
    flat = value.detach().cpu().contiguous().flatten()
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensor_hashes(state: StateDict, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some tensors by name."""
    return {name: tensor_hash(state[name]) for name in names}


def require_unchanged(tasks: Sequence[LearntTask], state: StateDict, where: str) -> None:
    """Raise CheckpointError unless all tensors are what they were when their task was learnt.

    Args:
        tasks: The list of a model directory.
        state: Tensors of the model directory by name.
        where: Which model, for the error.
    """
    for task in tasks:
        changed = [
            name
            for name, digest in task.tensors.items()
            if name not in state or tensor_hash(state[name]) != digest
        ]
        if changed:
            day = "" if task.learnt_on is None else f" on {task.learnt_on}"
            raise CheckpointError(
                f"{where}: {first_names(changed)} differ from what was learnt{day} with "
                f"{first_names(list(task.classes))}: the list of hashes in config.json says so. Old classes would not "
                "be scored as before. Restore the directory, or go back to the model that it was extended from."
            )
