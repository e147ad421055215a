"""One training of a study: taken as it is if it is complete, continued if it was stopped, begun otherwise."""

from __future__ import annotations

from pathlib import Path

from vitseg.launch import is_first_process
from vitseg.runs import STATE, stage_of
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.owner import empty, owned
from vitseg.training.recipe import Recipe
from vitseg.training.state import SavedState
from vitseg.training.task import TrainingTask, identity_of, task_of


def train_or_continue(
    recipe: Recipe,
    folder: Path,
    display: Display,
    cache_features: Path | None = None,
    task: TrainingTask | None = None,
) -> None:
    """Train in a folder what is not trained there yet.

    A run that is complete is left as it is, and one that was stopped goes on where it was saved. What is left of a run
    that failed before its first save is removed.

    Args:
        recipe: The run.
        folder: Folder of the run.
        display: Where progress is shown.
        cache_features: See `train`.
        task: See `train`.

    Raises:
        CheckpointError: The folder holds a run of another recipe or of other data.
        ConfigError: Another process trains in it.
        InterruptedRunError: Ctrl-C or SIGTERM; the same call goes on.
    """
    if stage_of(folder) == "finished":
        require_same_run(recipe, folder, task)
        return
    with owned(folder):
        stage = stage_of(folder)
        if stage == "begun" and is_first_process():
            empty(folder)  # stopped before its state was saved: nothing to go on from
        train(recipe, folder, stage == "stopped", display, cache_features, task)


def require_same_run(recipe: Recipe, folder: Path, task: TrainingTask | None = None) -> None:
    """See that what a folder holds was trained by this recipe on these data; a folder without a state may be any.

    Args:
        recipe: The run.
        folder: Folder of the run.
        task: See `train`.

    Raises:
        CheckpointError: It was not, or its state is damaged.
    """
    if (folder / STATE).is_file():
        SavedState(folder, identity_of(recipe, task or task_of(recipe)), look_only=True)
