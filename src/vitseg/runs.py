"""The folders that commands write: the names in them, and how far a run has come."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from vitseg import parsing
from vitseg.errors import CheckpointError, ConfigError
from vitseg.files import write_whole
from vitseg.launch import is_of_torchrun

RECIPE, RESULT, STATE = "recipe.yaml", "result.json", "state.ckpt"
"""What a run trains, what came of it once it is finished, and from where `--resume` goes on."""

LAUNCH = "torchrun.txt"
"""Which launch of torchrun trains a run, over all machines and restarts."""

SHARDS = "state"
"""Folder of the parts of a sharded training's state, which `state.ckpt` names."""

OWNER = ".owner"
"""Which process trains in a folder, while it does; what a killed one leaves of it means nothing."""

DIVERGED = "diverged.json"
"""What a run leaves that diverged: with it, `--resume` takes the state saved last with a recipe that may do better."""

DIVERGED_BATCH = "diverged-{rank}.pt"
"""What each process leaves that met numbers without bound: the batch that gave them."""

BEST, LAST = "best", "last"
"""Model directories of a run: the model of the best validation, and the one after the last iteration."""

TRAIN_LOG, VAL_LOG, BOARD = "train.csv", "val.csv", "tensorboard"
"""Numbers of a run over its iterations, and the same for TensorBoard."""

WANDB, MLFLOW = "wandb", "mlflow"
"""Folders of what other loggers keep in that of a run."""

TRAINING, START = "training", "start.json"
"""Within the folder of an extension: the run that trains its new part, and what the new stages start from."""

PREDICTIONS, MASKS, OVERLAYS, POLYGONS = "predictions.jsonl", "masks", "overlays", "polygons"
"""Within a folder of predictions: the list with one line per image, and folders with a file per image."""

SUGGESTED = "suggested.json"
"""Within a folder of suggestions: the list for programs, beside annotations and copies of images."""

PREDICT_SETTINGS = "predict.json"
"""Within a folder of predictions: the model and the options that they were made with."""

PLAN = "plan"
"""Folder of what was found and chosen for a run that began without a recipe: `plan.json`, and lists of its split."""

TRAIN_LIST, VAL_LIST = "train.txt", "val.txt"
"""In that folder: the images of a split that was made, or of a part of one."""

FAILED_START = frozenset({RECIPE, LAUNCH, BOARD, WANDB, MLFLOW, PLAN, TRAIN_LOG, VAL_LOG, SHARDS})
"""What a run leaves that failed or was killed before its first save; the next one may go over it."""

_MODELS = frozenset({BEST, LAST})
"""What it leaves, too, if it was validated by then; only `--resume` may go over that."""

_LEFTOVER = re.compile(r"\..+\.(writing|old|partial)")
"""Files and folders that a process was writing when it was killed."""

Stage = Literal["none", "begun", "stopped", "finished"]
"""How far a run has come: not there, failed before its first save, saved but not complete, complete."""


def goes_on(out: Path) -> bool:
    """Whether a training continues what is in its folder without being told to: torchrun has started it anew.

    Also where it ended before its first save: there is no state, and it begins anew.

    On the machine where a process has failed, torchrun counts that; on the others the folder has the same launch.

    Args:
        out: The folder.
    """
    if not is_of_torchrun() or not ((out / STATE).is_file() or was_killed_early(out)):
        return False
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0"):
        return True
    launch = _launch()
    try:
        return launch is not None and (out / LAUNCH).read_text(encoding="utf-8") == launch
    except (OSError, UnicodeDecodeError):
        return False


def note_launch(out: Path) -> None:
    """Write into the folder of a run by which launch of torchrun it is trained, for `goes_on`."""
    launch = _launch()
    if launch is not None:
        write_whole(out / LAUNCH, launch)


def _launch() -> str | None:
    """What torchrun calls all processes of one launch, on all machines; None where it has no name for them."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name == "none" else name


def was_killed_early(out: Path) -> bool:
    """Whether a folder holds a run that ended before its first save, and nothing else: it cannot go on."""
    if (out / STATE).is_file() or not (out / RECIPE).is_file():
        return False
    batches = {path.name for path in out.glob(DIVERGED_BATCH.format(rank="*"))}
    of_run = FAILED_START | _MODELS | leftovers(out) | batches | {DIVERGED, OWNER}
    return {path.name for path in out.iterdir()} <= of_run


def leftovers(out: Path) -> frozenset[str]:
    """What killed processes were writing into a folder."""
    if not out.is_dir():
        return frozenset()
    return frozenset(path.name for path in out.iterdir() if _LEFTOVER.fullmatch(path.name))


def require_state(out: Path) -> None:
    """Raise CheckpointError unless the folder of a run has a state to go on from."""
    if not (out / STATE).is_file():
        raise CheckpointError(
            f"{out} has no {STATE} to resume from: give the --out of an interrupted run, or train into a new folder "
            "without --resume."
        )


def stage_of(run: Path) -> Stage:
    """How far the run in a folder has come."""
    if (run / RESULT).is_file():
        return "finished"
    if (run / STATE).is_file():
        return "stopped"
    return "begun" if (run / RECIPE).is_file() else "none"


def read_result(run: Path) -> dict[str, Any]:
    """What `result.json` of a finished run says."""
    return read_own(run / RESULT)


def read_own(path: Path) -> Any:
    """What a file of a run says: a recipe (YAML), or JSON, which may hold scores that are NaN.

    Raises:
        ConfigError: It cannot be read, or is damaged.
    """
    try:
        if path.suffix == ".yaml":
            return parsing.read_yaml(path)
        return parsing.read_json(path, finite=False)
    except parsing.UnreadableError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Restore it, or begin the run anew in another folder."
        ) from error


def run_of(model: Path) -> Path:
    """The folder of the run that a model directory lies in; any other folder as it is."""
    return model.parent if model.name in (BEST, LAST) else model


def validated_on(model: Path) -> Path | None:
    """The list of images that the run of a model was validated on, where that is no split of the data set.

    Args:
        model: A model directory, or the folder of a run.
    """
    run = run_of(model)
    if (run / PLAN / VAL_LIST).is_file():
        return run / PLAN / VAL_LIST
    try:
        recipe = parsing.read_yaml(run / RECIPE)
    except parsing.UnreadableError:
        return None
    data = recipe.get("data") if isinstance(recipe, dict) else None
    named = data.get("val_split") if isinstance(data, dict) else None
    if isinstance(named, str) and named.endswith(".txt") and Path(named).is_file():
        return Path(named)
    return None


def write_recipe(run: Path, recipe: Mapping[str, Any]) -> None:
    """Keep what is run, as `recipe.yaml`; a file that says the same already stays, with its comments."""
    path = run / RECIPE
    if path.is_file() and _says(path, recipe):
        return
    write_whole(run / RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False))


def _says(path: Path, recipe: Mapping[str, Any]) -> bool:
    try:
        return parsing.read_yaml(path) == dict(recipe)
    except parsing.UnreadableError:
        return False
