"""The data of every step: which images it has, and which of their pixels are labelled.

The settings, by their sources:

- `overlapped` (Cermelli et al., MiB, CVPR 2020): all images with a pixel of a class of the step. An image may serve
  several steps.
- `disjoint` (the same): of those, the images whose pixels are all of classes of this step or of earlier ones, or of no
  class.
- `partitioned` (Kwak, Cha and Moon, 2024, who ask that no image serves two steps): every image belongs to one step.
  Which one is our rule: that of the rarest of its classes, by images of the split that show it, so that rare classes
  keep their images; of equally rare ones, that of the class learnt first.

In all of them the labels are those of the step's classes alone. Pixels of earlier and later classes, of classes that
are not learnt at all and of the data set's background are background.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool

from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import LabelTable
from vitseg.data.picked import picked
from vitseg.data.statistics import class_statistics
from vitseg.errors import DataError, first_names
from vitseg.studies.continual.splits import ClassSteps

Setting = Literal["overlapped", "disjoint", "partitioned"]

BLACK: Color = (0, 0, 0)


class StepData:
    """The data sets of all steps.

    Args:
        train_set: The training split with all of its classes.
        val_set: The validation split.
        steps: What is learnt when.
        setting: Which images a step has.
        num_workers: Processes that read the masks; 0: this one.
        on_image: Called after each mask that is read.

    Attributes:
        present: Whether image n of the training split shows class k of the data set: one pass over its masks.

    Raises:
        DataError: A mask cannot be read.
    """

    def __init__(
        self,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        steps: ClassSteps,
        setting: Setting,
        num_workers: int = 0,
        on_image: Callable[[], object] = lambda: None,
    ):
        self.train_split, self.val_split = train_set, val_set
        self.steps = steps
        self.setting: Setting = setting
        self.present = class_statistics(train_set, num_workers, on_image).present

    def indices(self, step: int) -> list[int]:
        """Positions of a step's images in the training split.

        Raises:
            DataError: There are none.
        """
        names = self.train_split.classes.names
        by_step = [[names.index(name) for name in classes] for classes in self.steps.steps]
        found = images_of_step(self.present, by_step, step, self.setting)
        if not found:
            raise DataError(
                f"step {step} has no image: none of {self.train_split.name} {self.train_split.split} shows "
                f"{first_names(self.steps.steps[step])} as the setting {self.setting} asks for. Choose another "
                "setting, order or split."
            )
        return found

    def train_set(self, step: int, with_background: bool) -> SegmentationDataset:
        """What a step is trained on.

        Args:
            step: Number of the step, from 0.
            with_background: Class 0 is the background, and classes 1, 2, ... are all that are learnt up to this step,
                of which those of earlier steps have no pixel. Without, the classes are those of the step alone, and
                all other pixels have the ignore label: negatives of every mask, in SegViT's loss.

        Raises:
            DataError: The step has no image.
        """
        images = picked(self.train_split, self.indices(step))
        current, labels = self.steps.steps[step], images.labels
        if with_background:
            seen, name = self.steps.seen(step), self.steps.background_name
            return images.with_labels(class_table(labels, seen, current, name))
        return images.with_labels(class_table(labels, current))

    def val_set(self, step: int) -> SegmentationDataset:
        """What the model of a step is scored on: every image of the validation split, whole.

        All classes learnt so far are labelled. Of a data set with a background class, that is class 0, and pixels of
        classes that are not learnt (yet) belong to it; otherwise they are ignored.
        """
        table = class_table(
            self.val_split.labels, self.steps.seen(step), background=self.steps.background
        )
        return self.val_split.with_labels(table)


def images_of_step(
    present: Bool[np.ndarray, "n k"],
    by_step: Sequence[Sequence[int]],
    step: int,
    setting: Setting,
) -> list[int]:
    """Positions of the images of a step, in order.

    Args:
        present: Whether image n shows class k.
        by_step: Classes of every step.
        step: Number of the step, from 0.
        setting: See this module.
    """
    shown = present[:, list(by_step[step])].any(1)
    if setting == "disjoint":
        later = [index for classes in by_step[step + 1 :] for index in classes]
        shown &= ~present[:, later].any(1)
    if setting == "partitioned":
        shown &= _step_of_image(present, by_step) == step
    return np.flatnonzero(shown).tolist()


def _step_of_image(
    present: Bool[np.ndarray, "n k"], by_step: Sequence[Sequence[int]]
) -> np.ndarray:
    """Step of the rarest class of every image, (n,); of images without a class, any."""
    learnt = [index for classes in by_step for index in classes]
    step_of = np.array([step for step, classes in enumerate(by_step) for _ in classes])
    images = present[:, learnt].sum(0)
    rarity = np.where(present[:, learnt], images, len(present) + 1)  # (n, learnt)
    return step_of[rarity.argmin(1)]  # argmin takes the first of equals


def class_table(
    labels: LabelTable,
    classes: Sequence[str],
    labelled: Collection[str] | None = None,
    background: str | None = None,
) -> LabelTable:
    """The table of a model that knows some of a data set's classes.

    Args:
        labels: The data set's table.
        classes: Names of the classes that the model knows, in its order.
        labelled: Classes whose pixels keep their label; None: all.
        background: Name of class 0, which all other pixels get; None: they get the ignore label. What the data set
            itself ignores stays ignored.
    """
    kept = classes if labelled is None else [name for name in classes if name in labelled]
    first = [] if background is None else [background]
    names = [*first, *classes]
    palette = dict(zip(labels.classes.names, labels.classes.palette, strict=True))
    rest = IGNORE_INDEX if background is None else 0
    index_of = {name: names.index(name) for name in kept}

    def new_index(old: int) -> int:
        return old if old == IGNORE_INDEX else index_of.get(labels.classes.names[old], rest)

    return LabelTable(
        ClassTable(names=tuple(names), palette=tuple(palette.get(name, BLACK) for name in names)),
        {raw: new_index(old) for raw, old in labels.mapping.items()},
        labels.raw_names,
        labels.colors,
        labels.hint,
    )
