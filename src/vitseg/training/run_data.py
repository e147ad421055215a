"""What a run trains and validates on: its splits, checked, and the samples that are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

from vitseg.checks.fast import fast_findings
from vitseg.checks.file_rules import ALL_IGNORED, told_of_loss
from vitseg.data.balance import Balance, measure_balance
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.errors import DataError
from vitseg.evaluation.evaluate import require_same_classes
from vitseg.images.preprocess import Preprocessing
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe
from vitseg.training.samples import TrainingSamples, training_samples
from vitseg.training.task import TrainingTask


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        train_set: Split that is trained on.
        val_set: Split that is validated on; None: nothing is.
        preprocessing: Normalisation of the images.
        balance: What is done about rare classes.
        drawn: The training samples.
        warnings: What the check of the splits found.
    """

    train_set: SegmentationDataset
    val_set: SegmentationDataset | None
    preprocessing: Preprocessing
    balance: Balance
    drawn: TrainingSamples
    warnings: list[Finding]


def read_data(recipe: Recipe, task: TrainingTask, display: Display) -> RunData:
    """Check the splits of a run, count their classes if the recipe needs it, and lay out the samples.

    Args:
        recipe: The run.
        task: What is trained on which splits.
        display: Where the progress of the counting is shown.

    Raises:
        ConfigError: The splits have different classes.
        DataError: A split is empty, cannot be read, or the check found errors.
    """
    train_set, val_set = task.train_set, task.val_set
    for dataset in (train_set, val_set):
        if dataset is not None and not len(dataset):
            raise DataError(f"split {dataset.split} of {recipe.data.source} is empty.")
    if val_set is not None:
        require_same_classes(train_set.classes, val_set)
    warnings = [
        told_of_loss(finding, recipe.model.learns_absence)
        for finding in check_before_training(train_set, val_set)
        if not (task.has_negatives and finding.code == ALL_IGNORED)
    ]
    balance = _measure_balance(recipe, train_set, display)
    preprocessing = recipe.preprocessing()
    drawn = training_samples(recipe, train_set, balance, preprocessing)
    return RunData(train_set, val_set, preprocessing, balance, drawn, warnings)


def check_before_training(
    train_set: SegmentationDataset, val_set: SegmentationDataset | None
) -> list[Finding]:
    """Run the fast part of `vitseg data check`; returns its warnings.

    Raises:
        DataError: It found errors.
    """
    findings = fast_findings(train_set, val_set)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        worst = errors[0]
        more = (
            f" Errors in all: {len(errors)}; `vitseg data check` lists them." if errors[1:] else ""
        )
        raise DataError(f"{worst.message} {worst.fix}{more}")
    return findings


def _measure_balance(recipe: Recipe, train_set: SegmentationDataset, display: Display) -> Balance:
    config = recipe.data.balance
    if not config.needs_statistics:
        return Balance()
    with display.counting(len(train_set)) as advance:
        return measure_balance(config, train_set, recipe.data.num_workers, advance)
