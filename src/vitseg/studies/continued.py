"""One training of a study: taken as it is if it is complete, continued if it was stopped, begun otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from vitseg.runs import stage_of
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask


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
        InterruptedRunError: Ctrl-C or SIGTERM; the same call goes on.
    """
    stage = stage_of(folder)
    if stage == "finished":
        return
    if stage == "begun":
        shutil.rmtree(folder)  # stopped before its state was saved: nothing to go on from
    train(recipe, folder, stage == "stopped", display, cache_features, task)
