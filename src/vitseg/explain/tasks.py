"""Which task of a model claims which pixel, and what was said there before the task was learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Integer
from PIL import Image

from vitseg.errors import first_names
from vitseg.explain.sheet import Sheet
from vitseg.explain.table import require
from vitseg.explain.view import View
from vitseg.inference.image_source import ImageSource
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import full_scores
from vitseg.inference.segmentation import Segmentation
from vitseg.outputs import Joined
from vitseg.render.stages import StagePictures, stages_sheet

HOW_TO_READ = (
    "The model learnt its classes in several tasks, and a pixel belongs to the class that scores best of all tasks'. "
    "Bright pixels are claimed by the task; below are the labels that the model would give had it learnt nothing after "
    "it, which is what it gave before the next task was added."
)


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

    @property
    def names(self) -> tuple[str, ...]:
        """For people: what each task is called."""
        return tuple(
            f"task {number}: {first_names(claim.classes)}"
            for number, claim in enumerate(self.claims)
        )


def explain(predictor: Predictor, image: ImageSource) -> Sheet:
    """Run a model of tasks on one image and draw what each task claims; see `read_tasks`."""
    return Sheet(draw_tasks(read_tasks(predictor, image)), HOW_TO_READ)


@torch.inference_mode()
def read_tasks(predictor: Predictor, image: ImageSource) -> TaskExplanation:
    """Run a model of tasks on one image, whole and in one view, and keep what each task claims.

    Args:
        predictor: A model of tasks.
        image: See `Predictor`.

    Raises:
        ConfigError: The model has one decoder.
        DataError: The image cannot be read, or would be run far beyond its own size.
    """
    require(predictor, "tasks")
    view = View.of(predictor, image)
    predictor.network.eval()
    output = cast(Joined, predictor.run(view.images))
    scores = full_scores(view.scores(output))
    labels = scores.argmax(0).cpu().numpy()
    names = predictor.classes.names
    claims, first = [], 0
    for part in output.parts:
        last = first + part.num_classes
        so_far = scores[:last].argmax(0).cpu().numpy()
        claimed = (labels >= first) & (labels < last)
        claims.append(TaskClaim(names[first:last], so_far, claimed))
        first = last
    return TaskExplanation(view.segmentation(labels), tuple(claims))


def draw_tasks(explanation: TaskExplanation) -> Image.Image:
    """The sheet of one image."""
    found = explanation.segmentation
    columns = [
        StagePictures(
            title=name,
            note=f"claims {claim.share:.1%}",
            settled=claim.claimed,
            overlay=replace(found, label_map=claim.label_map).overlay(legend=False),
        )
        for name, claim in zip(explanation.names, explanation.claims, strict=True)
    ]
    return stages_sheet(found.image, columns)
