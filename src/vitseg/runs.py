"""The folders that commands write: names within a run, and the claim of `--out` before anything is written."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
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

WITHOUT_EFFECT = frozenset(
    {
        "data.num_workers",
        "training.val_interval",
        "training.save_interval",
        "training.strategy",
        "training.loggers",
        "training.compile",
        "backbone.gradient_checkpointing",
        "training.patience",
    }
)
"""Fields of a recipe that may change while a run is going on: they move no weight, but for rounding (and compiled, the
numbers that dropout draws). What is chosen as the best model is chosen among the validations that there were."""

PATHS = frozenset(
    {"data.source", "data.train_split", "data.val_split", "backbone.weights", "training.init_from"}
)
"""Fields that lead to files: the same ones by another path are no change."""

_MEASURED = ("data.value_range", "data.bands", "backbone.channels")
"""Fields that a run fills in by its data where its recipe leaves them open, which is then no change."""

_ADDED = {"training.num_nodes": 1, "training.accumulate": 1}
"""Fields that recipes of older runs do not have, and what these runs did."""

_ALL_BANDS = "data.bands.chosen"
"""Likewise, where it is empty: all bands."""

_LATER = ("step.", "joint.")
"""Sections of a recipe of several trainings that say the same of later ones."""

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


def claim_folder(
    out: Path,
    *,
    may_hold: Collection[str] | None = (),
    instead: str = "give a new folder",
    option: str = "--out",
) -> None:
    """See that a folder can take a result: it is not there yet, is empty, or holds nothing but what is allowed.

    Whether files can be written there is tried, so that no long work ends where its result finds no place.

    Args:
        out: The folder; it is not created.
        may_hold: Names that it may hold; None: anything.
        instead: What the user can do where it holds something else.
        option: Option that names the folder.

    Raises:
        ConfigError: The path is a file, the folder holds something else, or files cannot be written there.
    """
    is_there = os.path.exists(out)  # Path.exists fails for a path that is too long
    if is_there and not out.is_dir():
        raise ConfigError(f"{option} {out} is a file: give a folder.")
    if is_there and may_hold is not None:
        held = sorted({path.name for path in out.iterdir()} - {*may_hold, OWNER})
        if held:
            names = ", ".join(held[:3]) + ("..." if held[3:] else "")
            raise ConfigError(
                f"{option} {out} is not empty ({names}): {instead}. Nothing was changed."
            )
    require_writable(out, option)


def require_writable(place: Path, option: str) -> None:
    """See that a folder, or a file in one, can be written: one without a name is, in the nearest folder that is there.

    Args:
        place: The folder or file; neither it nor folders above it are created.
        option: Option that names it.

    Raises:
        ConfigError: It cannot.
    """
    there = place.absolute() if os.path.isdir(place) else place.absolute().parent
    while not os.path.lexists(there) and there.parent != there:
        there = there.parent
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            place.stat()  # a name that is too long is told so
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        raise ConfigError(
            f"{option} {place} cannot be written ({there}: {error.strerror}): make that possible, or give another "
            "place. Nothing was changed."
        ) from error


def claim_new(out: Path) -> None:
    """Raise ConfigError if the folder for a changed or converted model exists, even if empty, or cannot be written."""
    if os.path.exists(out):
        raise ConfigError(f"--out {out} exists already: give a new folder. Nothing was changed.")
    require_writable(out, "--out")


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


def claim_run(out: Path, resume: bool) -> None:
    """As `claim_folder` for a training: its folder is new, or holds a run that is to go on or to begin anew."""
    keeps = "give a new folder, or pass --resume to continue the run in it"
    claim_folder(out, may_hold=None if resume else FAILED_START | _leftovers(out), instead=keeps)
    if resume and not was_killed_early(out):
        require_state(out)


def was_killed_early(out: Path) -> bool:
    """Whether a folder holds a run that ended before its first save, and nothing else: it cannot go on."""
    if (out / STATE).is_file() or not (out / RECIPE).is_file():
        return False
    batches = {path.name for path in out.glob(DIVERGED_BATCH.format(rank="*"))}
    of_run = FAILED_START | _MODELS | _leftovers(out) | batches | {DIVERGED, OWNER}
    return {path.name for path in out.iterdir()} <= of_run


def _leftovers(out: Path) -> frozenset[str]:
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


def claim_predictions(out: Path, overwrite: bool) -> None:
    """See that a folder can take predictions.

    Args:
        out: The folder; it is not created.
        overwrite: Whether predictions that it holds may be replaced.

    Raises:
        ConfigError: The path is a file, the folder holds predictions that may not be replaced, or it holds masks that
            are none, as the folder of a data set does.
    """
    claim_folder(out, may_hold=None)
    if (out / PREDICTIONS).exists() and (out / PREDICTIONS).stat().st_size:
        if not overwrite:
            raise ConfigError(
                f"--out {out} holds predictions already ({PREDICTIONS}): give a new folder, or pass --overwrite. "
                "Nothing was changed."
            )
        return
    held = [name for name in (MASKS, OVERLAYS) if (out / name).exists()]
    if held:
        raise ConfigError(
            f"--out {out} has {' and '.join(held)} that no prediction wrote (there is no {PREDICTIONS}): give a new "
            "folder. Nothing was changed."
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
    """What a JSON file of a run says, which may hold scores that are NaN.

    Raises:
        ConfigError: It cannot be read, or is damaged.
    """
    try:
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


def changed_recipe(run: Path, recipe: Mapping[str, Any]) -> list[str]:
    """Dotted names of the fields in which a run has another recipe, sorted; none where there is no run."""
    path = run / RECIPE
    if not path.is_file():
        return []
    return sorted(changed_fields(_read_recipe(path), dict(recipe)))


def _read_recipe(path: Path) -> Any:
    try:
        return parsing.read_yaml(path)
    except parsing.UnreadableError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Restore it, or begin the run anew in another folder."
        ) from error


def changed_fields(old: Any, new: Any) -> set[str]:
    """Dotted names of the fields in which two recipes differ, without those that make no difference to a run."""
    return {
        name
        for name, (before, now) in _differences(old, new).items()
        if _plain(name) not in WITHOUT_EFFECT
        and not (_plain(name) in PATHS and _same_place(before, now))
        and not (_plain(name).startswith(_MEASURED) and _is_filled_in(before, now))
        and not (_plain(name) == _ALL_BANDS and not now)
        and not (before is None and _plain(name) in _ADDED and now == _ADDED[_plain(name)])
    }


def _differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of the values in which two nested mappings differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in old.keys() | new.keys():
            found |= _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return {} if old == new else {prefix.rstrip("."): (old, new)}


def _is_filled_in(before: Any, now: Any) -> bool:
    """Whether a value says all that a recipe says, and more where that leaves it open."""
    if now is None:
        return True
    if isinstance(now, dict) and isinstance(before, dict):
        return all(key in before and _is_filled_in(before[key], now[key]) for key in now)
    if isinstance(now, list | tuple) and isinstance(before, list | tuple):
        if len(before) != len(now):
            return False
        return all(_is_filled_in(*pair) for pair in zip(before, now, strict=True))
    return before == now


def _plain(name: str) -> str:
    """The field's name as it is in the recipe of one training."""
    for section in _LATER:
        name = name.removeprefix(section)
    return name


def _same_place(one: Any, other: Any) -> bool:
    """Whether two paths, or two `NAME:ROOT` of one name, lead to the same file or folder."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    name, _, root = one.rpartition(":")
    other_name, _, other_root = other.rpartition(":")
    root, _, options = root.partition("?")
    other_root, _, other_options = other_root.partition("?")
    try:
        return (name, options) == (other_name, other_options) and os.path.samefile(
            os.path.expanduser(root), os.path.expanduser(other_root)
        )
    except OSError:
        return False
