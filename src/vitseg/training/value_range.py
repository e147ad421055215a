"""The one range of values of a run whose images have more than 8 bits: declared, or measured before anything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.value_survey import deep_images, measured_range
from vitseg.errors import first_names
from vitseg.images.value_range import ValueRange
from vitseg.runs import RECIPE
from vitseg.training.bands import with_bands
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask


def with_value_range(
    recipe: Recipe, task: TrainingTask, display: Display, begun: Path | None = None
) -> tuple[Recipe, TrainingTask]:
    """The recipe and the task, both with the one range, or the chosen bands, where they need one; this is said.

    With it in its recipe, a run can be repeated from its own folder, and its model reads every image as it did.

    Args:
        recipe: The run.
        task: What is trained on.
        display: Where the notice is printed.
        begun: Folder of the run that goes on: the range that was measured then holds.
    """
    if task.keeps_reading:
        return recipe, task
    if task.train_set.bands is not None:  # of which each has its own
        return with_bands(recipe, task, display, begun)
    limits = _declared(recipe.data.value_range) or task.train_set.value_range
    if limits is None and begun is not None:
        limits = _declared(_range_in(begun))
    if limits is None:
        limits = measured(task.train_set, recipe.data.num_workers, display)
    if limits is None:
        if task.val_set is not None:
            _tell_of_deeper(task.train_set, task.val_set, display)
        return recipe, task
    val_set = None if task.val_set is None else task.val_set.with_value_range(limits)
    task = replace(task, train_set=task.train_set.with_value_range(limits), val_set=val_set)
    return recipe.with_value_range(limits), task


def measured(
    train_set: SegmentationDataset, num_workers: int, display: Display
) -> ValueRange | None:
    """The range that is measured on a set, which is said; None where it needs none."""

    def start(count: int) -> None:
        display.started(f"counting the values of {count} images of more than 8 bits")

    found = measured_range(train_set, num_workers, start)
    if found is None:
        return None
    display.started(f"warning: {found.sentence('training')}")
    return found.limits


def _tell_of_deeper(
    train_set: SegmentationDataset, val_set: SegmentationDataset, display: Display
) -> None:
    """Warn of images of more than 8 bits that are validated on where none is trained on."""
    _, deep = deep_images(val_set)
    if not deep or deep_images(train_set)[1]:
        return
    names = first_names([val_set.image_name(index) for index in deep])
    have = "image of {} has" if len(deep) == 1 else "images of {} have"
    display.started(
        f"warning: {len(deep)} {have.format(val_set.split)} more than 8 bits ({names}), those of {train_set.split} "
        "have not: unless their files state a range, each is read by its own values. Save both alike, or set "
        "data.value_range."
    )


def _declared(pair: tuple[float, float] | None) -> ValueRange | None:
    return None if pair is None else ValueRange(*pair)


def _range_in(run: Path) -> tuple[float, float] | None:
    """The range in the recipe of a run; None where there is none, or no recipe that can be read."""
    try:
        content: Any = parsing.read_yaml(run / RECIPE)
        low, high = content["data"]["value_range"]
        return ValueRange.valid(low, high)
    except (parsing.UnreadableError, OSError, TypeError, ValueError, KeyError):
        return None
