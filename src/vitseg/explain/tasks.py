"""Which task of a model claims which pixel, and what was said there before the task was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Integer

from vitseg.decoders.task_decoders import TaskDecoders
from vitseg.errors import ConfigError
from vitseg.inference.predictor import ImageSource, Predictor, as_rgb
from vitseg.inference.scores import OutputScores, full_scores, resized
from vitseg.inference.segmentation import Segmentation


@dataclass(frozen=True)
class TaskClaim:
    """What one task says of an image.

    Attributes:
        classes: Names of its classes.
        label_map: What the model would answer if this task were its last one, at the image's size.
        claimed: Pixels where one of its classes scores best of all tasks'.
    """

    classes: tuple[str, ...]
    label_map: Integer[np.ndarray, "H W"]
    claimed: Bool[np.ndarray, "H W"]

    @property
    def share(self) -> float:
        """Share of the image that the task claims, in [0, 1]."""
        return float(self.claimed.mean())


@dataclass(frozen=True)
class TaskExplanation:
    """An image's segmentation and what each task has to do with it, in the order in which they were learnt."""

    segmentation: Segmentation
    claims: tuple[TaskClaim, ...]


def require_tasks(predictor: Predictor) -> TaskDecoders:
    """The decoders of a model of tasks.

    Raises:
        ConfigError: The model has one decoder.
    """
    decoder = predictor.model.decoder
    if not isinstance(decoder, TaskDecoders):
        raise ConfigError(f"a model of method {predictor.record.method} has no tasks.")
    return decoder


@torch.inference_mode()
def explain_tasks(predictor: Predictor, source: ImageSource) -> TaskExplanation:
    """Run a model of tasks on one image, whole and in one view, and keep what each task claims.

    Args:
        predictor: A model of tasks.
        source: See `Predictor`.

    Raises:
        ConfigError: The model has one decoder.
        DataError: The image cannot be read, or would be run far beyond its own size.
    """
    require_tasks(predictor)
    image = as_rgb(source)
    size = image.shape[0], image.shape[1]
    images = predictor.model_input(image, predictor.inference.input_size(size))
    output = predictor.model.eval()(images)
    scores = full_scores(resized(OutputScores(output), size))
    labels = scores.argmax(0).cpu().numpy()
    names = predictor.classes.names
    claims, first = [], 0
    for part in output.parts:
        last = first + part.num_classes
        so_far = scores[:last].argmax(0).cpu().numpy()
        claimed = (labels >= first) & (labels < last)
        claims.append(TaskClaim(names[first:last], so_far, claimed))
        first = last
    path = Path(source) if isinstance(source, (str, Path)) else None
    segmentation = Segmentation(label_map=labels, classes=predictor.classes, image=image, path=path)
    return TaskExplanation(segmentation, tuple(claims))
