"""How classes are added: SegViT-CL, the baselines, and the joint training that they are measured by.

The baselines are softmax models of method `linear`: one linear layer, with the background as class 0, on the same ViT
as SegViT-CL. All begin with the same first step, an ordinary training on the base classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vitseg.checkpoint.model_dir import load_model
from vitseg.extend.extend import extend_model
from vitseg.files import write_json
from vitseg.inference.predictor import load
from vitseg.launch import is_repeating
from vitseg.methods.linear import LinearProbeConfig
from vitseg.methods.model import SegmentationModel
from vitseg.runs import STATE, read_own
from vitseg.studies.continual.datasets import StepData
from vitseg.studies.continual.growing import NewRows, freeze_all_but_classifier, grow, num_classes
from vitseg.studies.continual.recipe import ContinualConfig
from vitseg.studies.continual.steps import LinearRowsLoss, MibLoss, PlopLoss
from vitseg.studies.continual.thresholds import MOST_IMAGES, median_entropies
from vitseg.studies.continued import train_or_continue
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe
from vitseg.training.step import LossOfModel
from vitseg.training.task import StepBuilder, TrainingTask

MODEL = "model"
"""Name of the folder of a step's training, within the step's folder."""


@dataclass(frozen=True)
class Step:
    """One training of several.

    Attributes:
        number: Position among the steps, from 0.
        recipe: Recipe of this training.
        config: The protocol.
        data: Data sets of all steps.
        folder: Folder of the step.
        previous: Model directory of the step before; None: this is the first.
        display: Where progress is shown.
    """

    number: int
    recipe: Recipe
    config: ContinualConfig
    data: StepData
    folder: Path
    previous: Path | None
    display: Display

    @property
    def out(self) -> Path:
        """Folder of the training."""
        return self.folder / MODEL


@dataclass(frozen=True)
class Approach:
    """A way to add classes.

    Attributes:
        train: Trains a step after the first, or continues it; returns the model's folder.
        adapt: Turns the recipe of later steps into the one that this approach trains with.
    """

    train: Callable[[Step], Path]
    adapt: Callable[[Recipe], Recipe] = lambda recipe: recipe


def train_first(step: Step) -> Path:
    """An ordinary training on the classes of one step: the first, or the only one of the joint training.

    Nothing is picked by its score: the model is the one after the last iteration.
    """
    task = TrainingTask(
        step.data.train_set(step.number, isinstance(step.recipe.model, LinearProbeConfig)), None
    )
    train_or_continue(step.recipe, step.out, step.display, task=task)
    return step.out


def extend_segvit(step: Step) -> Path:
    """SegViT-CL (thesis section 4.2.3): new queries, stages and classifier on a frozen model."""
    assert step.previous is not None
    resume = step.out.is_dir() and any(step.out.rglob(STATE))
    if not resume and step.out.exists() and not is_repeating():
        shutil.rmtree(step.out)  # stopped before its state was saved: nothing to go on from
    train_set = step.data.train_set(step.number, with_background=False)
    source = step.recipe.data.source
    assert source is not None
    extension = extend_model(
        step.previous,
        train_set,
        step.out,
        step.recipe,
        source=source,
        resume=resume,
        display=step.display,
        stages=step.config.new_stages,
    )
    return extension.folder


def finetune(step: Step) -> Path:
    """All weights learn the step's classes with the ordinary loss, in which every other pixel is background."""
    return _grown(step, LossOfModel, "fresh")


def train_rows(step: Step) -> Path:
    """Only the new rows of the linear layer learn, on frozen features; the earlier rows and the background's stay."""
    assert step.previous is not None
    num_old = num_classes(load_model(step.previous)[0])
    return _grown(
        step, partial(LinearRowsLoss, num_old=num_old), "fresh", freeze_all_but_classifier
    )


def with_mib(step: Step) -> Path:
    """MiB: unbiased losses, and new rows that begin as the background's."""
    build = partial(MibLoss, teacher=_teacher(step), config=step.config.mib)
    return _grown(step, build, "background")


def with_plop(step: Step) -> Path:
    """PLOP: pseudo-labels and Local POD. New rows begin as MiB's do, which the paper leaves open."""
    thresholds = torch.tensor(_thresholds(step))
    build = partial(
        PlopLoss, teacher=_teacher(step), config=step.config.plop, thresholds=thresholds
    )
    return _grown(step, build, "background")


def _grown(
    step: Step,
    build: StepBuilder,
    new_rows: NewRows,
    freeze: Callable[[SegmentationModel], None] = lambda model: None,
) -> Path:
    """Train a linear model that starts from that of the step before."""
    assert step.previous is not None
    old = load_model(step.previous)[0]

    def prepare(model: SegmentationModel) -> None:
        grow(model, old, new_rows)
        freeze(model)

    train_set = step.data.train_set(step.number, with_background=True)
    task = TrainingTask(train_set, None, prepare, build)
    train_or_continue(step.recipe, step.out, step.display, task=task)
    return step.out


def _teacher(step: Step) -> SegmentationModel:
    assert step.previous is not None
    return load_model(step.previous)[0]


def _thresholds(step: Step) -> list[float]:
    """PLOP's thresholds, computed once and kept beside the training, so that a resumed one has the same."""
    path = step.folder / "thresholds.json"
    if not path.is_file():
        assert step.previous is not None
        train_set = step.data.train_set(step.number, with_background=True)
        predictor = load(step.previous)
        step.display.started(f"entropies of {min(MOST_IMAGES, len(train_set))} images")
        found = median_entropies(predictor, train_set)
        values = dict(zip(predictor.classes.names, found, strict=True))
        write_json(path, values)
    return list(read_own(path).values())


def frozen_backbone(recipe: Recipe) -> Recipe:
    """The recipe with `training.freeze_backbone`."""
    training = recipe.training.model_copy(update={"freeze_backbone": True})
    return recipe.model_copy(update={"training": training})


def frozen_rows(recipe: Recipe) -> Recipe:
    """With a frozen backbone, and no decay on the classifier, which would change rows that have no gradient."""
    recipe = frozen_backbone(recipe)
    no_decay = (*recipe.optimizer.no_decay, "decoder.classifier")
    optimizer = recipe.optimizer.model_copy(update={"no_decay": no_decay})
    return recipe.model_copy(update={"optimizer": optimizer})


APPROACHES: dict[str, Approach] = {
    "segvit_cl": Approach(extend_segvit, frozen_backbone),
    "joint": Approach(train_first),
    "finetune": Approach(finetune),
    "linear_rows": Approach(train_rows, frozen_rows),
    "mib": Approach(with_mib),
    "plop": Approach(with_plop),
}
