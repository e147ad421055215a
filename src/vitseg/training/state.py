"""The training state on disk: enough to continue a run as if it had not stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import nn

from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import CheckpointError
from vitseg.files import WatchedFile
from vitseg.runs import DIVERGED, RECIPE, SHARDS, STATE, changed_fields, require_state
from vitseg.training.data_stamp import changes
from vitseg.training.sharded_state import ShardedTensors, sharded_as_parameters, sync_folder

_KEYS = {"model", "optimizer", "progress", "recipe", "data"}
_SHARDED_KEYS = {"shards", "progress", "recipe", "data"}

_TOLD_BY_DATA = "data.source"
"""The field that the stamp of the data stands for: a data set may have moved."""

_PROCESSES = frozenset({"training.devices", "training.num_nodes"})
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
    """How far a run is."""

    iteration: int = 0
    best_miou: float | None = None
    minutes: float = 0.0


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


def save_state(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    identity: RunIdentity,
    scaler: Mapping[str, Any] | None = None,
) -> None:
    """Write the state; the previous one stays until the new one is complete.

    Random numbers are a function of where the run stands (`randomness.py`), so that none of their state is in it.

    Args:
        out: Folder of the run.
        model: Its weights.
        optimizer: Its state.
        progress: How far the run is.
        identity: What it is told by.
        scaler: State of the scaler of gradients; None: there is none.
    """
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        **facts_of(progress, identity),
        **({} if scaler is None else {"scaler": dict(scaler)}),
    }
    write_state(out, state)


def facts_of(progress: Progress, identity: RunIdentity) -> dict[str, Any]:
    """What a state says beside its tensors."""
    return {
        "progress": vars(progress),
        "recipe": dict(identity.recipe),
        "data": dict(identity.stamp),
    }


def write_state(out: Path, state: Mapping[str, Any]) -> None:
    """Write the file, and remove what only the one before it needed."""
    is_whole = "shards" not in state
    fresh = out / f".{STATE}.writing"  # one name, so that killed processes leave one file at most
    try:
        with fresh.open("wb") as file:
            _save(state, WatchedFile(file))
            if not is_whole:  # on the disk before the parts that the last one names are removed
                file.flush()
                os.fsync(file.fileno())
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
    """What `save_state` wrote, read and found to be of the same run.

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
            changed = changed_fields(self._state["recipe"], dict(identity.recipe))
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
            return ShardedTensors(self._path)

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
            return Progress(**self._state["progress"])

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
