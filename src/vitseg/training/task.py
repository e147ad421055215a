"""What a caller of the training settles beyond a recipe, as for learning new classes on top of another model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from vitseg.data.band_choice import with_chosen_bands
from vitseg.data.catalog import open_dataset, require_one_table
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import ConfigError
from vitseg.images.value_range import ValueRange
from vitseg.methods.model import SegmentationModel
from vitseg.training.data_stamp import stamp_of
from vitseg.training.recipe import DataConfig, Recipe
from vitseg.training.recipe_files import NO_DATA
from vitseg.training.state import RunIdentity
from vitseg.training.step import LossOfModel

StepBuilder = Callable[[SegmentationModel, nn.Module, bool], LossOfModel]
"""(model, criterion, freeze_backbone) to the module that gives the loss terms of a batch."""


def nothing(model: SegmentationModel) -> None:
    """Leave a model as it was built."""


@dataclass(frozen=True)
class TrainingTask:
    """Part of a larger undertaking, for which a recipe has no words.

    Attributes:
        train_set: What is trained on, instead of the recipe's split.
        val_set: What is validated on; None: nothing is, and the best model is the last one.
        prepare: Called with the new model, before its optimiser is made: gives it weights to start from, and freezes
            parameters. A resumed run calls it, too.
        step: What makes the training step, for losses that look at more than the model's output.
        keeps_reading: Images are read as the sets say, as a trained model reads them: no range of values is measured.
        has_negatives: Images without any label are there on purpose, and nobody is warned of them.
    """

    train_set: SegmentationDataset
    val_set: SegmentationDataset | None
    prepare: Callable[[SegmentationModel], None] = nothing
    step: StepBuilder = LossOfModel
    keeps_reading: bool = False
    has_negatives: bool = False


def task_of(recipe: Recipe) -> TrainingTask:
    """Training as the recipe says, on the splits of its data set; raises what `open_splits` raises."""
    return TrainingTask(*open_splits(recipe.data))


def identity_of(recipe: Recipe, task: TrainingTask) -> RunIdentity:
    """What a run is told by; every image and mask of its splits is looked at."""
    stamp = stamp_of(task.train_set, task.val_set)
    return RunIdentity(recipe.to_mapping(), task.train_set, task.val_set, stamp)


def open_splits(data: DataConfig) -> tuple[SegmentationDataset, SegmentationDataset]:
    """The splits that a recipe trains and validates on.

    Raises:
        ConfigError: The recipe names no data set.
        DataError: The data set cannot be read.
    """
    if data.source is None:
        raise ConfigError(NO_DATA)
    train_set, val_set = (
        open_dataset(data.source, split, data.merge, data.ignore)
        for split in (data.train_split, data.val_split)
    )
    require_one_table([train_set, val_set])
    if data.bands is not None:
        train_set = with_chosen_bands(train_set, data.bands)
    val_set = val_set.with_bands(train_set.bands)
    if data.value_range is None:
        return train_set, val_set
    stated = ValueRange(*data.value_range)  # before that of a class file
    return train_set.with_value_range(stated), val_set.with_value_range(stated)
