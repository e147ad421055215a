"""Scoring the model of a step on whole images, with all classes that it has learnt.

A softmax model has the background as its class 0. Of a data set without such a class (ADE20K) that row is left out, as
`ClassSubset` has it: every pixel gets one of the classes.

SegViT has no row for the background, as it has none in its loss: every class is present in a pixel or not. Where a data
set has a background, a pixel belongs to it if no class has a score of 0.5, the value at which each class' own binary
decision flips. That is our rule: thesis and paper take the best class of every pixel, on data without a background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import ConfigError
from vitseg.evaluation.evaluate import Evaluation, SampleResult, evaluate
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import Distribution, ScoreMap
from vitseg.types import Size

BACKGROUND_SCORE = 0.5
"""What a class must reach not to be background."""


class WithBackground(Predictor):
    """A model of scores in [0, 1] by class, with a background before its classes.

    Args:
        predictor: The model.
        classes: The table to predict in: the background, and then the model's classes.

    Raises:
        ConfigError: The model's scores are logits.
    """

    def __init__(self, predictor: Predictor, classes: ClassTable):
        super().__init__(predictor.network, predictor.record, predictor.device)
        self.classes = classes

    def scores(self, image: UInt8[np.ndarray, "H W c"]) -> ScoreMap:
        """The model's scores, with the background's constant score as row 0."""
        return BackgroundScores(super().scores(image))


class BackgroundScores:
    """A score map with a row of 0.5 before it.

    Raises:
        ConfigError: The scores are logits.
    """

    def __init__(self, source: ScoreMap):
        if source.distribution != "share":
            raise ConfigError(
                "a background by threshold needs scores of each class in [0, 1], but this model's are logits: train "
                "one with decoder.classifier presence."
            )
        self.source = source
        self.size: Size = source.size
        self.num_classes = source.num_classes + 1
        self.distribution: Distribution = source.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        rows = self.source.rows(start, stop)
        background = torch.full_like(rows[:1], BACKGROUND_SCORE)
        return torch.cat([background, rows])


def score_step(
    predictor: Predictor,
    dataset: SegmentationDataset,
    background: str | None,
    on_image: Callable[[], object] = lambda: None,
    on_sample: Callable[[SampleResult], object] | None = None,
) -> Evaluation:
    """Score a model on `StepData.val_set` of its step.

    Args:
        predictor: The model; a softmax one has a class more than the data set has, or the data set's background.
        dataset: The validation split with the classes learnt so far.
        background: The data set's background class; None: it has none.
        on_image: Called after each image.
        on_sample: Called after each image with what was found on it.

    Raises:
        DataError: The model's classes are not those of the step.
    """
    ours, theirs = predictor.classes.names, dataset.classes.names
    if background is not None and ours == theirs[1:]:
        with_background = WithBackground(predictor, dataset.classes)
        return evaluate(with_background, dataset, on_image, on_sample=on_sample)
    without = ours[:1] if background is None and ours[1:] == theirs else ()
    return evaluate(predictor, dataset, on_image, without_classes=without, on_sample=on_sample)
