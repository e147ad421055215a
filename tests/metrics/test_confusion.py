"""The scores against a count in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitseg.classes import IGNORE_INDEX
from vitseg.metrics.confusion import ConfusionMatrix, SegmentationScores, count_pairs


def oracle(pairs: list[tuple[list, list]], num_classes: int) -> dict:
    """Scores of (prediction, labels) pairs of nested lists, pixel by pixel; None where undefined."""
    pixels = [
        (p, t)
        for prediction, labels in pairs
        for prediction_row, label_row in zip(prediction, labels, strict=True)
        for p, t in zip(prediction_row, label_row, strict=True)
        if t != IGNORE_INDEX
    ]
    iou, accuracy, dice, weighted = [], [], [], 0.0
    for k in range(num_classes):
        both = sum(p == k and t == k for p, t in pixels)
        either = sum(p == k or t == k for p, t in pixels)
        labelled = sum(t == k for _, t in pixels)
        iou.append(both / either if either else None)
        accuracy.append(both / labelled if labelled else None)
        areas = labelled + sum(p == k for p, _ in pixels)
        dice.append(2 * both / areas if areas else None)
        weighted += both / either * labelled / len(pixels) if labelled else 0
    right = sum(p == t for p, t in pixels)
    return {
        "iou": iou,
        "accuracy": accuracy,
        "miou": mean(iou),
        "macc": mean(accuracy),
        "aacc": right / len(pixels) if pixels else None,
        "dice": dice,
        "mdice": mean(dice),
        "fwiou": weighted if pixels else None,
    }


def mean(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def scored(pairs, num_classes: int) -> SegmentationScores:
    confusion = ConfusionMatrix(num_classes)
    for prediction, labels in pairs:
        confusion.update(np.array(prediction, np.uint8), np.array(labels, np.int64))
    return confusion.scores()


def assert_same(scores: SegmentationScores, expected: dict) -> None:
    def plain(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    assert [plain(v) for v in scores.iou] == pytest.approx(expected["iou"])
    assert [plain(v) for v in scores.accuracy] == pytest.approx(expected["accuracy"])
    assert plain(scores.mean_iou) == pytest.approx(expected["miou"])
    assert plain(scores.mean_accuracy) == pytest.approx(expected["macc"])
    assert plain(scores.pixel_accuracy) == pytest.approx(expected["aacc"])
    assert [plain(v) for v in scores.dice] == pytest.approx(expected["dice"])
    assert plain(scores.mean_dice) == pytest.approx(expected["mdice"])
    assert plain(scores.frequency_weighted_iou) == pytest.approx(expected["fwiou"])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_classes", [1, 2, 7])
def test_random_maps(seed, num_classes):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(3):
        size = tuple(rng.integers(1, 9, 2))
        prediction = rng.integers(0, num_classes, size)
        labels = rng.integers(IGNORE_INDEX, num_classes, size)
        pairs.append((prediction.tolist(), labels.tolist()))
    assert_same(scored(pairs, num_classes), oracle(pairs, num_classes))


def test_by_hand():
    """Two classes: 3 pixels of class 0, of which 2 are found; 1 of class 1, found; 1 ignored."""
    scores = scored([([[0, 0, 1], [1, 1, 0]], [[0, 0, 0], [1, -1, -1]])], 2)
    np.testing.assert_allclose(scores.iou, [2 / 3, 1 / 2])
    np.testing.assert_allclose(scores.accuracy, [2 / 3, 1])
    np.testing.assert_allclose(scores.dice, [4 / 5, 2 / 3])
    assert scores.pixel_accuracy == 3 / 4
    assert scores.frequency_weighted_iou == pytest.approx(3 / 4 * 2 / 3 + 1 / 4 * 1 / 2)
    assert scores.pixels.tolist() == [3, 1]


def test_an_absent_class_is_left_out_of_the_means():
    pairs = [([[0, 1]], [[0, 1]])]
    scores = scored(pairs, 4)
    assert np.isnan(scores.iou[2:]).all()
    assert scores.mean_iou == scores.mean_accuracy == 1
    assert_same(scores, oracle(pairs, 4))


def test_a_class_predicted_but_never_labelled_has_iou_zero_and_no_accuracy():
    pairs = [([[0, 2]], [[0, 0]])]
    scores = scored(pairs, 3)
    assert scores.iou[2] == 0
    assert np.isnan(scores.accuracy[2])
    assert scores.mean_iou == pytest.approx((0.5 + 0) / 2)
    assert scores.mean_accuracy == 0.5
    assert_same(scores, oracle(pairs, 3))


def test_everything_ignored_scores_nan():
    scores = scored([([[0, 1]], [[IGNORE_INDEX, IGNORE_INDEX]])], 2)
    assert np.isnan(scores.iou).all()
    assert all(
        math.isnan(v) for v in (scores.mean_iou, scores.mean_accuracy, scores.pixel_accuracy)
    )
    assert math.isnan(scored([], 2).mean_iou)


def test_counts_add_up_over_images():
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 3, (2, 5, 6)), rng.integers(-1, 3, (2, 5, 6))
    apart, together = ConfusionMatrix(3), ConfusionMatrix(3)
    for prediction, label in zip(predictions, labels, strict=True):
        apart.update(prediction, label)
    together.update(predictions.reshape(10, 6), labels.reshape(10, 6))
    np.testing.assert_array_equal(apart.counts, together.counts)
    assert apart.counts.sum() == (labels != IGNORE_INDEX).sum()


def test_more_than_256_classes():
    prediction, labels = np.array([[299, 3]], np.uint16), np.array([[299, 298]])
    confusion = ConfusionMatrix(300)
    confusion.update(prediction, labels)
    assert confusion.counts[299, 299] == confusion.counts[298, 3] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64])
def test_the_type_of_the_maps_changes_nothing(dtype):
    """127 classes: products of indices overflow the small types."""
    rng = np.random.default_rng(0)
    prediction, labels = rng.integers(0, 127, (2, 30, 40))
    counts = count_pairs(prediction.astype(dtype), labels.astype(dtype), 127)
    np.testing.assert_array_equal(counts, count_pairs(prediction, labels, 127))
    assert counts[labels[3, 5], prediction[3, 5]] > 0


def test_update_returns_the_counts_of_the_image():
    confusion = ConfusionMatrix(2)
    first = confusion.update(np.array([[0, 1]]), np.array([[0, 0]]))
    second = confusion.update(np.array([[1, 1]]), np.array([[1, -1]]))
    assert first.tolist() == [[1, 1], [0, 0]]
    assert second.tolist() == [[0, 0], [0, 1]]
    assert confusion.counts.tolist() == [[1, 1], [0, 1]]
