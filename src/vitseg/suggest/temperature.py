"""The temperature at which a model's probabilities fit labelled images best (Guo et al. 2017, section 4.2).

A model that was trained for long is surer than it is right. One number divides the logarithms of its probabilities, and
is chosen by the likelihood of the labels; which class is the best of a pixel never changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from scipy.optimize import minimize_scalar

from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import spread_indices
from vitseg.errors import DataError
from vitseg.evaluation.evaluate import require_same_classes
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import probabilities

MOST_IMAGES = 100
"""Images that are looked at, spread over the data set: one number needs no more."""

PIXELS = 2000
"""Pixels of each, on a regular grid: neighbours say the same."""

COLDEST, HOTTEST = 0.05, 20.0
_LOWEST = 1e-9  # a probability of 0 would make any label of it impossible


def fit_temperature(
    predictor: Predictor,
    dataset: SegmentationDataset,
    on_image: Callable[[], object] = lambda: None,
) -> float:
    """The temperature of the highest likelihood of the labels, between 0.05 and 20.

    Args:
        predictor: The model.
        dataset: Labelled images that it was not trained on, of its classes.
        on_image: Called after each image.

    Raises:
        DataError: Its classes are not the model's, a sample cannot be read, or no pixel has a label.
        VitsegError: The model's scores are NaN or infinite.
    """
    seen = predictor.preprocessing
    dataset = dataset.read_as(seen.bands, seen.limits)
    require_same_classes(predictor.classes, dataset)
    probs, labels = [], []
    for index in spread_indices(len(dataset), MOST_IMAGES):
        sample = dataset[index]
        found = _at_pixels(predictor, sample.image, sample.label_map)
        probs.append(found[0])
        labels.append(found[1])
        on_image()
    every, right = np.concatenate(probs), np.concatenate(labels)
    if not len(right):
        raise DataError(f"no pixel of {dataset.source} has a label: give data with labels.")
    logs = np.log(np.maximum(every, _LOWEST).astype(np.float64))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        chosen = scaled[np.arange(len(right)), right]
        return float((np.log(np.exp(scaled).sum(1)) - chosen).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def images_looked_at(dataset: SegmentationDataset) -> int:
    """How many images of a data set are looked at."""
    return min(len(dataset), MOST_IMAGES)


@torch.inference_mode()
def _at_pixels(
    predictor: Predictor, image: np.ndarray, label_map: np.ndarray
) -> tuple[Float32[np.ndarray, "n k"], Int64[np.ndarray, " n"]]:
    """The probabilities and the labels of the pixels of a grid that have a label."""
    height, width = label_map.shape
    step = max(1, round((height * width / PIXELS) ** 0.5))
    found, top = [], 0
    for strip in probabilities(predictor.scores(image)):
        stop = top + strip.shape[1]
        first = -top % step
        found.append(strip[:, first::step, ::step].float().cpu().numpy())
        top = stop
    probs = np.concatenate(found, axis=1)  # (k, rows, columns)
    labels = label_map[::step, ::step].astype(np.int64)
    labelled = labels != IGNORE_INDEX
    return probs[:, labelled].T, labels[labelled]
