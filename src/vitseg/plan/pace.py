"""What a run takes on this machine, measured on its own first steps and images, which are then thrown away."""

from __future__ import annotations

import time
from typing import Any

import torch

from vitseg.data.balance import Balance
from vitseg.data.picked import picked, spread_indices
from vitseg.evaluation.evaluate import evaluate
from vitseg.evaluation.measures import MEASURES
from vitseg.inference.predictor import Predictor
from vitseg.plan.choose import Times
from vitseg.training.batches import batches, train_step
from vitseg.training.keep import record_of
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import RunParts, build_parts
from vitseg.training.samples import training_samples
from vitseg.training.task import TrainingTask

MOST_STEPS = 8
"""Steps that are timed, behind one that warms up; fewer where they are slow, but one at least."""

_SECONDS = 4.0  # that all timed steps take, from which on there are enough
_ROBUST = (
    4  # timed steps from which on the slowest, which something may have disturbed, does not count
)
_IMAGES = 3


def measure_step(recipe: Recipe, task: TrainingTask) -> float:
    """Seconds of one step of one process; errors as for `build_parts`, and those of data that cannot be read."""
    recipe = recipe.of_one_process()  # others would begin with a plan of their own
    return _steps(recipe, *_begin(recipe, task))


def measure(recipe: Recipe, task: TrainingTask) -> Times:
    """What a step and what images take one process; errors as for `measure_step`.

    Args:
        recipe: The run; its iterations do not matter.
        task: What is trained and validated on.
    """
    recipe = recipe.of_one_process()
    began = time.monotonic()
    data, parts = _begin(recipe, task)
    start = time.monotonic() - began
    step = _steps(recipe, data, parts)
    assert task.val_set is not None
    few = picked(task.val_set, spread_indices(len(task.val_set), _IMAGES))
    predictor = Predictor(parts.whole_model(), record_of(recipe, data, {}), parts.fabric.device)
    evaluate(predictor, picked(few, [0]))  # warms up
    began = time.monotonic()
    evaluate(predictor, few)
    middle = time.monotonic()
    evaluate(predictor, few, measures=MEASURES)
    end = time.monotonic()
    return Times(step, (middle - began) / len(few), (end - middle) / len(few), start)


def _begin(recipe: Recipe, task: TrainingTask) -> tuple[RunData, RunParts]:
    preprocessing = recipe.preprocessing()
    drawn = training_samples(recipe, task.train_set, Balance(), preprocessing)
    data = RunData(task.train_set, task.val_set, preprocessing, Balance(), drawn, [])
    return data, build_parts(recipe, task, data)


def _steps(recipe: Recipe, data: RunData, parts: RunParts) -> float:
    taken: list[float] = []
    synchronize: Any = torch.cuda.synchronize if parts.fabric.device.type == "cuda" else _nothing
    began = time.monotonic()
    for inputs, labels in batches(recipe, data, parts):
        train_step(recipe, parts, inputs, labels).loss.item()
        synchronize()
        now = time.monotonic()
        taken.append(now - began)
        began = now
        if sum(taken[1:]) > _SECONDS or len(taken) > MOST_STEPS:
            break
    timed = sorted(taken[1:] or taken)
    if len(timed) >= _ROBUST:
        timed = timed[:-1]
    return sum(timed) / len(timed)


def _nothing() -> None:
    pass
