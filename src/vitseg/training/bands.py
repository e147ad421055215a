"""The chosen bands of a run: with their ranges, means and standard deviations, given or measured before all else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.backbones.create import pretrained_mean_std
from vitseg.data.band_survey import measured_bands, needs_measuring
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import ConfigError
from vitseg.images.bands import COLORS, Bands
from vitseg.runs import RECIPE
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask


def with_bands(
    recipe: Recipe, task: TrainingTask, display: Display, begun: Path | None = None
) -> tuple[Recipe, TrainingTask]:
    """The recipe and the task of a run on chosen bands, all that is open about these measured, which is said.

    With them in its recipe, a run can be repeated from its own folder, and its model reads every image as it did.

    Args:
        recipe: The run.
        task: What is trained on; its data sets have chosen bands.
        display: Where the notice is printed.
        begun: Folder of the run that goes on: what was measured then holds.
    """
    if recipe.model.backbone.mean is not None:
        raise ConfigError(
            "backbone.mean and backbone.std are of red, green and blue, but bands are chosen: give mean and std of "
            "each band in data.bands."
        )
    train_set = task.train_set
    assert train_set.bands is not None
    kept = None if begun is None else _bands_in(begun)
    if kept is not None and _same_choice(kept, train_set.bands):
        train_set = train_set.with_bands(kept)
    bands = known_bands(recipe, train_set, display)
    val_set = None if task.val_set is None else task.val_set.with_bands(bands)
    task = replace(task, train_set=train_set.with_bands(bands), val_set=val_set)
    return recipe.with_bands(bands), task


def known_bands(recipe: Recipe, dataset: SegmentationDataset, display: Display) -> Bands:
    """The chosen bands of a data set, of which nothing is open any more.

    Red, green and blue keep the mean and standard deviation of the pretrained weights.

    Args:
        recipe: The run.
        dataset: What is trained on.
        display: Where the notice is printed.

    Raises:
        DataError: No image can be read.
    """
    assert dataset.bands is not None
    if not needs_measuring(dataset):
        return dataset.bands.read_by(dataset.value_range)

    def start(count: int) -> None:
        display.started(f"measuring the bands of {count} images")

    mean, std = pretrained_mean_std(recipe.model.backbone)
    known = {color: (mean[n], std[n]) for n, color in enumerate(COLORS)}
    found = measured_bands(dataset, known, recipe.data.num_workers, start)
    if found.lines:
        lines = "; ".join(found.lines)
        display.started(f"warning: {lines}. To choose ranges yourself: data.bands in the recipe.")
    return found.bands


def _same_choice(one: Bands, other: Bands) -> bool:
    """Whether two choices are of the same bands, whatever is known of them."""
    numbers = [[band.number for band in bands.chosen] for bands in (one, other)]
    return numbers[0] == numbers[1] and one.extra_images == other.extra_images


def _bands_in(run: Path) -> Bands | None:
    """The bands in the recipe of a run; None where there are none, or no recipe that can be read."""
    try:
        content: Any = parsing.read_yaml(run / RECIPE)
        return Bands.model_validate(content["data"]["bands"])
    except (parsing.UnreadableError, OSError, TypeError, ValueError, KeyError):
        return None
