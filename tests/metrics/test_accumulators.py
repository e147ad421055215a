"""What every measure has to hold: parts add up, bad maps are refused, nothing to score gives NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.metrics.maps import NUM_CLASSES, random_pair
from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError
from vitseg.metrics.boundary import BoundaryIoU, Trimap
from vitseg.metrics.calibration import Calibration
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.metrics.size import SizeBinnedIoU

KINDS = (ConfusionMatrix, Trimap, BoundaryIoU, SizeBinnedIoU, Calibration)


def add(accumulator, prediction: np.ndarray, labels: np.ndarray) -> None:
    if isinstance(accumulator, Calibration):
        confidence = np.linspace(0.1, 1, labels.size, dtype=np.float32).reshape(labels.shape)
        accumulator.update(prediction, labels, confidence)
    else:
        accumulator.update(prediction, labels)


def values(scores) -> list[float]:
    """Every number in what `scores()` or `curve()` returns."""
    if isinstance(scores, (dict, tuple)):
        parts = scores.values() if isinstance(scores, dict) else scores
        return [value for part in parts for value in values(part)]
    if hasattr(scores, "__dict__"):
        return [value for part in vars(scores).values() for value in values(part)]
    return np.ravel(scores).astype(float).tolist()


def result(accumulator) -> list[float]:
    scored = accumulator.curve if isinstance(accumulator, Trimap) else accumulator.scores
    return values(scored())


def headlines(accumulator) -> list[float]:
    """The numbers that a summary shows."""
    if isinstance(accumulator, Trimap):
        return [point.scores.mean_iou for point in accumulator.curve()]
    if isinstance(accumulator, SizeBinnedIoU):
        return [scores.mean_iou for scores in accumulator.scores().values()]
    scores = accumulator.scores()
    return [scores.ece if isinstance(accumulator, Calibration) else scores.mean_iou]


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_merged_are_the_whole(kind):
    pairs = [random_pair(seed) for seed in range(7)]
    whole, first, second = (kind(NUM_CLASSES) for _ in range(3))
    for number, pair in enumerate(pairs):
        add(whole, *pair)
        add(first if number % 2 else second, *pair)
    assert first.counts.any()
    assert second.counts.any()
    np.testing.assert_allclose(first.counts + second.counts, whole.counts, rtol=1e-12)
    first.merge(second)
    np.testing.assert_allclose(result(first), result(whole), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_must_have_the_size_of_the_labels(kind):
    with pytest.raises(DataError, match="prediction is 3x2 pixels but the labels are 2x3"):
        add(kind(2), np.zeros((2, 3), np.uint8), np.zeros((3, 2), int))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (2, 0, r"class 2 in the prediction, but allowed are 0 to 1:"),
        (-1, 0, r"class -1 in the prediction, but allowed are 0 to 1:"),
        (0, 255, r"class 255 in the labels, but allowed are 0 to 1 and -1 \(ignore\)"),
        (0, -2, r"class -2 in the labels"),
    ],
)
def test_classes_must_be_indices(kind, prediction, label, message):
    maps = np.zeros((2, 3, 4), int)
    maps[:, 1, 2] = prediction, label
    accumulator = kind(2)
    with pytest.raises(DataError, match=message):
        add(accumulator, *maps)
    assert not accumulator.counts.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(3, 4), (1, 1), (0, 5), (1, 20_000)])
def test_everything_ignored_counts_nothing(kind, size):
    accumulator = kind(2)
    add(accumulator, np.zeros(size, np.uint8), np.full(size, IGNORE_INDEX))
    assert not accumulator.counts.any()
    assert all(math.isnan(value) for value in headlines(accumulator))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_thin_images(kind, size):
    labels = np.arange(size[0] * size[1]).reshape(size) // 7 % 2
    accumulator = kind(2)
    add(accumulator, labels.astype(np.uint8), labels)
    assert accumulator.counts.any() or (kind is Trimap and size == (1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_not_changed(kind):
    prediction, labels = random_pair(1)
    before = prediction.copy(), labels.copy()
    add(kind(NUM_CLASSES), prediction, labels)
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(labels, before[1])
