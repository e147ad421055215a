"""Calibration against a count in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.metrics.maps import NUM_CLASSES, pixels_of, random_pair
from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError
from vitseg.metrics.calibration import NUM_BINS, Calibration


def confidence_like(labels: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(labels.shape, dtype=np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_random_maps(seed):
    prediction, labels = random_pair(seed)
    confidence = confidence_like(labels, seed)
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(NUM_BINS)]
    for at in pixels_of(labels):
        if labels[at] != IGNORE_INDEX:
            number = next(n for n in range(NUM_BINS) if confidence[at] <= (n + 1) / NUM_BINS)
            bins[number].append((float(confidence[at]), bool(prediction[at] == labels[at])))
    measure = Calibration(NUM_CLASSES)
    measure.update(prediction, labels, confidence)
    scores = measure.scores()
    total, ece = sum(map(len, bins)), 0.0
    for number, entries in enumerate(bins):
        assert scores.pixels[number] == len(entries)
        if not entries:
            assert math.isnan(scores.accuracy[number])
            assert math.isnan(scores.confidence[number])
            continue
        accuracy = sum(hit for _, hit in entries) / len(entries)
        mean = sum(sure for sure, _ in entries) / len(entries)
        assert scores.accuracy[number] == pytest.approx(accuracy)
        assert scores.confidence[number] == pytest.approx(mean)
        ece += len(entries) / total * abs(accuracy - mean)
    assert scores.ece == pytest.approx(ece) if total else math.isnan(scores.ece)


def test_limits_belong_to_the_bin_below():
    confidence = np.array([[0, 1e-9, 0.2, 0.21, 1]], dtype=np.float32)
    zeros = np.zeros((1, 5), np.uint8)
    measure = Calibration(1)
    measure.update(zeros, zeros, confidence)
    filled = {number: count for number, count in enumerate(measure.scores().pixels) if count}
    assert filled == {0: 2, 2: 1, 3: 1, 14: 1}


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    prediction, labels = np.zeros((2, 1, 4), np.uint8)
    labels[0, 3] = 1
    measure = Calibration(2)
    measure.update(prediction, labels, np.full((1, 4), 0.75, np.float32))
    assert measure.scores().ece == pytest.approx(0)
    measure.update(prediction, 1 - prediction, np.ones((1, 4), np.float32))
    assert measure.scores().ece == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5, np.inf])
def test_confidences_must_be_probabilities(wrong):
    confidence = np.full((2, 3), 0.5, np.float32)
    confidence[1, 1] = wrong
    maps = np.zeros((2, 3), np.uint8)
    with pytest.raises(DataError, match="must be probabilities, from 0 to 1"):
        Calibration(1).update(maps, maps, confidence)


def test_one_confidence_per_pixel():
    maps = np.zeros((2, 3), np.uint8)
    with pytest.raises(DataError, match=r"shape \(3, 2\) but the labels of \(2, 3\)"):
        Calibration(1).update(maps, maps, np.zeros((3, 2), np.float32))
