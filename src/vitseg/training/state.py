"""The training state on disk: enough to continue a run as if it had not stopped."""

from __future__ import annotations

import copy
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from vitseg.changes import changed_fields
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import CheckpointError
from vitseg.files import WatchedFile
from vitseg.runs import DIVERGED, RECIPE, SHARDS, STATE, require_state
from vitseg.training.average import WeightAverage
from vitseg.training.data_stamp import changes
from vitseg.training.sharded_state import ShardedTensors, sharded_as_parameters, sync_folder
from vitseg.training.sums import require_sound

_KEYS = {"model", "optimizer", "progress", "recipe", "data"}
_SHARDED_KEYS = {"shards", "contents", "progress", "recipe", "data"}

_TOLD_BY_DATA = "data.source"
"""The field that the stamp of the data stands for: a data set may have moved."""

_PROCESSES = frozenset({"training.devices", "training.num_nodes", "training.accumulate"})
"""Fields that may change on a resume: the batch, and which samples are in it, stay the same."""

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
    """How far a run is.

    Attributes:
        iteration: Optimiser steps so far.
        best_miou: Of the validations so far; None: there was none.
        minutes: Of the training, with validations.
        without_better: Validations since the one with the best score.
        step_minutes: Minutes of iterations alone, see `WaitingClock`.
        waiting_minutes: Those of them in which the training waited for data.
    """

    iteration: int = 0
    best_miou: float | None = None
    minutes: float = 0.0
    without_better: int = 0
    step_minutes: float = 0.0
    waiting_minutes: float = 0.0

    def judge(self, miou: float | None) -> bool:
        """Count a validation; returns whether its model is the best so far.

        Args:
            miou: Its score; None: nothing is validated, and no model is better than the last.
        """
        best = self.best_miou
        is_best = miou is None or best is None or miou > best or math.isnan(best)
        if is_best:
            self.best_miou = miou
        self.without_better = 0 if is_best else self.without_better + 1
        return is_best

    def has_stalled(self, patience: int | None) -> bool:
        """Whether the run ends here: as many validations as that were no better than an earlier one."""
        return patience is not None and self.without_better >= patience

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Progress:
        """What a state says; a ValueError or TypeError where it is no progress."""
        found = cls(**values)
        counts = (found.iteration, found.without_better)
        times = (found.minutes, found.step_minutes, found.waiting_minutes)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"{counts} are no counts")
        if any(not time >= 0 for time in times) or not isinstance(found.best_miou, float | None):
            raise ValueError(f"{found} has values of another kind")
        return found

    @property
    def waiting_share(self) -> float | None:
        """Share of the iterations that waited for data; None: not known yet."""
        return self.waiting_minutes / self.step_minutes if self.step_minutes else None


@dataclass(frozen=True)
class RunIdentity:
    """What a run is told by: what the state of another one may not go on with.

    Attributes:
        recipe: The recipe as its file has it.
        train_set: What is trained on.
        val_set: What is validated on; None: nothing is.
        stamp: The stamp of these, see `data_stamp`.
    """

    recipe: Mapping[str, Any]
    train_set: SegmentationDataset
    val_set: SegmentationDataset | None
    stamp: Mapping[str, Any]


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    identity: RunIdentity,
    scaler: Mapping[str, Any] | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """The state as it is now, copied to the memory of the CPU, so that the training may go on.

    Random numbers are a function of where the run stands (`randomness.py`), so that none of their state is in it.

    Args:
        model: Its weights.
        optimizer: Its state.
        progress: How far the run is.
        identity: What it is told by.
        scaler: State of the scaler of gradients; None: there is none.
        average: Moving averages of the weights by name; None: there are none.
    """
    return {
        "model": _copied(model.state_dict()),
        "optimizer": _copied(optimizer.state_dict()),
        **facts_of(progress, identity),
        **({} if scaler is None else {"scaler": dict(scaler)}),
        **({} if average is None else {"average": _copied(average)}),
    }


def facts_of(progress: Progress, identity: RunIdentity) -> dict[str, Any]:
    """What a state says beside its tensors."""
    return {
        "progress": dict(vars(progress)),
        "recipe": dict(identity.recipe),
        "data": dict(identity.stamp),
    }


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        fresh = copy.copy(value)
        fresh.update((key, _copied(each)) for key, each in value.items())
        return fresh
    if isinstance(value, list | tuple):
        return type(value)(_copied(each) for each in value)
    return value


def write_state(out: Path, state: Mapping[str, Any]) -> None:
    """Write a state; the previous one stays until the new one is complete and on the disk.

    What only the previous one needed is removed behind it.

    Args:
        out: Folder of the run.
        state: What `snapshot` gave, or the facts of one whose tensors are in parts.

    Raises:
        OSError: It cannot be written; the previous one is as it was.
    """
    is_whole = "shards" not in state
    for left in out.glob(f".{STATE}*.writing"):  # by killed processes
        left.unlink(missing_ok=True)
    fresh = out / f".{STATE}.{uuid.uuid4().hex[:8]}.writing"  # no other process writes to it
    try:
        with fresh.open("wb") as file:
            _save(state, WatchedFile(file))
            file.flush()
            os.fsync(file.fileno())  # else the name may outlive the content in a power cut
        os.replace(fresh, out / STATE)
    finally:
        fresh.unlink(missing_ok=True)
    if is_whole:
        shutil.rmtree(out / SHARDS, ignore_errors=True)
    else:
        sync_folder(out)
    (out / DIVERGED).unlink(missing_ok=True)  # what it allowed has become the recipe of the run


def _save(state: Mapping[str, Any], file: WatchedFile) -> None:
    try:
        torch.save(state, cast(IO[bytes], file))
    except RuntimeError as error:  # torch's words on a full disk
        raise file.error or error from error


def shards_named(out: Path) -> str | None:
    """The folder of parts that the state of a run names; None: it has all in itself, or is not there."""
    if not (out / STATE).is_file():
        return None
    state = torch.load(out / STATE, map_location="cpu", weights_only=True, mmap=True)
    return state.get("shards")


class SavedState:
    """What `write_state` wrote, read and found to be of the same run.

    Args:
        out: Folder of the run.
        identity: The run that goes on with it.
        look_only: Whether nothing is restored from it, so that the weights are not read.

    Raises:
        CheckpointError: No state to continue from, a damaged one, or one of another recipe or other data.
    """

    def __init__(self, out: Path, identity: RunIdentity, look_only: bool = False):
        self._path = out / STATE
        require_state(out)
        self._state = self._read(look_only)
        self._parts = None if look_only else self._open_parts(out)
        with self._damage_named():
            changed = changed_fields(dict(self._state["recipe"]), dict(identity.recipe))
            told = changes(
                self._state["data"], identity.train_set, identity.val_set, identity.stamp
            )
        changed = sorted(changed - {_TOLD_BY_DATA} - _PROCESSES)
        if (out / DIVERGED).is_file():
            changed = [name for name in changed if name not in AFTER_DIVERGENCE]
        if changed:
            raise CheckpointError(
                f"{out} was started with another recipe: {', '.join(changed[:4])} changed. Resume with the recipe it "
                f"was started with ({RECIPE} there), or train into another --out."
            )
        if told:
            raise CheckpointError(
                f"{out} was started with other data: {'; '.join(told[:4])}. Resume with the data it was started with, "
                "or train into another --out."
            )

    def _read(self, look_only: bool) -> dict[str, Any]:
        with self._damage_named():
            state = torch.load(self._path, map_location="cpu", weights_only=True, mmap=look_only)
        if not isinstance(state, dict) or not (
            state.keys() >= _KEYS or state.keys() >= _SHARDED_KEYS
        ):
            raise CheckpointError(
                f"{self._path} is not a training state of this version of vitseg: train into another --out."
            )
        return state

    def _open_parts(self, out: Path) -> ShardedTensors | None:
        name = self._state.get("shards")
        if name is None:
            return None
        self._path = out / SHARDS / Path(str(name)).name
        if not self._path.is_dir():
            raise CheckpointError(
                f"{out / STATE} names {self._path}, which is not there: restore it, or train into another --out."
            )
        with self._damage_named():
            return ShardedTensors(self._path, self._state["contents"])

    def require_sound(self, rank: int = 0, world_size: int = 1) -> None:
        """See that all bytes are those that were written; the processes share what there is to read.

        Args:
            rank: Number of this process.
            world_size: How many there are.

        Raises:
            CheckpointError: Some are others.
        """
        with self._damage_named():
            if self._parts is not None:
                self._parts.require_sound(rank, world_size)
            elif rank == 0:
                with self._path.open("rb") as file:
                    require_sound(file)

    def restore_model(self, model: nn.Module) -> None:
        """Give a model, which is not sharded yet, the weights that it had."""
        with self._damage_named():
            if self._parts is not None:
                self._parts.restore_model(model)
            else:
                model.load_state_dict(self._state["model"])

    def restore(self, optimizer: torch.optim.Optimizer) -> Progress:
        """Give the optimiser its state, sharded as its parameters are; returns how far the run was."""
        with self._damage_named():
            if self._parts is not None:
                state = self._parts.optimizer_state(optimizer)
            else:
                state = sharded_as_parameters(self._state["optimizer"], optimizer)
            optimizer.load_state_dict(state)
            return Progress.read(self._state["progress"])

    def restore_average(self, average: WeightAverage) -> None:
        """Give the moving average of the weights what it was."""
        with self._damage_named():
            average.restore(self._state["average"])

    @property
    def scaler(self) -> Mapping[str, Any] | None:
        """State of the scaler of gradients; None: there was none."""
        return self._state.get("scaler")

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Whatever is raised in reading a file that anything may have happened to becomes one sentence."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{self._path} is damaged or no training state ({type(error).__name__}), so there is nothing to resume "
                "from: restore it from a copy, or train into another --out."
            ) from error
