"""IoU by object size against a flood fill in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.metrics.maps import NUM_CLASSES, pixels_of, random_pair
from vitseg.classes import IGNORE_INDEX
from vitseg.metrics import size as module
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.metrics.size import FALSE, HITS, LABELLED, OBJECTS, SizeBinnedIoU, connected_regions


def flood(label_map: np.ndarray) -> list[set[tuple[int, int]]]:
    """The 4-connected regions of one label, without the ignored pixels."""
    left = {at for at in pixels_of(label_map) if label_map[at] != IGNORE_INDEX}
    regions = []
    while left:
        region, ahead = set(), [next(iter(left))]
        while ahead:
            row, column = at = ahead.pop()
            if at in region:
                continue
            region.add(at)
            around = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
            ahead += [n for n in around if n in left and label_map[n] == label_map[at]]
        left -= region
        regions.append(region)
    return regions


def size_of(area: int) -> int:
    small, medium = module.AREA_LIMITS
    return 0 if area < small else 1 if area < medium else 2


def oracle(prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(3, 4, k) counts as `SizeBinnedIoU` has them."""
    counts = np.zeros((3, 4, NUM_CLASSES), int)
    size_at = {}
    for region in flood(labels):
        size, k = size_of(len(region)), labels[next(iter(region))]
        counts[size, OBJECTS, k] += 1
        counts[size, LABELLED, k] += len(region)
        counts[size, HITS, k] += sum(prediction[at] == k for at in region)
        size_at |= dict.fromkeys(region, size)
    for region in flood(np.where(labels == IGNORE_INDEX, IGNORE_INDEX, prediction.astype(int))):
        k = prediction[next(iter(region))]
        met = [sum(labels[at] == k and size_at[at] == size for at in region) for size in range(3)]
        size = met.index(max(met)) if any(met) else size_of(len(region))
        counts[size, FALSE, k] += sum(labels[at] != k for at in region)
    return counts


@pytest.fixture
def tiny_limits(monkeypatch):
    """Limits for maps of 24 pixels."""
    monkeypatch.setattr(module, "AREA_LIMITS", (6, 30))


@pytest.mark.parametrize("seed", range(15))
def test_random_maps(seed, tiny_limits):
    prediction, labels = random_pair(seed)
    measure = SizeBinnedIoU(NUM_CLASSES)
    measure.update(prediction, labels)
    np.testing.assert_array_equal(measure.counts, oracle(prediction, labels))


@pytest.mark.parametrize("seed", range(15))
def test_the_sizes_share_out_the_confusion_matrix(seed, tiny_limits):
    prediction, labels = random_pair(seed)
    measure, confusion = SizeBinnedIoU(NUM_CLASSES), ConfusionMatrix(NUM_CLASSES)
    measure.update(prediction, labels)
    confusion.update(prediction, labels)
    total = measure.counts.sum(0)
    np.testing.assert_array_equal(total[HITS], np.diag(confusion.counts))
    np.testing.assert_array_equal(total[LABELLED], confusion.counts.sum(1))
    np.testing.assert_array_equal(total[HITS] + total[FALSE], confusion.counts.sum(0))


@pytest.mark.parametrize(("side", "name"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large")])  # fmt: skip
def test_limits_are_those_of_coco(side, name):
    labels = np.full((100, 100), IGNORE_INDEX)
    labels[:side, :side] = 0
    measure = SizeBinnedIoU(1)
    measure.update(np.zeros((100, 100), np.uint8), labels)
    scores = measure.scores()
    assert [key for key in scores if scores[key].objects.sum()] == [name]
    assert scores[name].mean_iou == 1


def test_pixels_that_touch_at_a_corner_are_two_objects():
    labels = np.array([[1, 0], [0, 1]])
    regions, count = connected_regions(labels)
    assert count == 4
    assert np.unique(regions).tolist() == [1, 2, 3, 4]


def test_a_size_without_objects_is_skipped_whatever_was_predicted():
    """A wrong small spot costs nothing where the class has large objects only."""
    labels, prediction = np.zeros((2, 200, 200), int)
    labels[:, :100] = prediction[:, :100] = 1
    prediction[150:155, 150:155] = 1
    measure = SizeBinnedIoU(2)
    measure.update(prediction, labels)
    scores = measure.scores()
    assert math.isnan(scores["small"].iou[1])
    assert math.isnan(scores["small"].mean_iou)
    assert scores["large"].iou[1] == 1
    assert scores["large"].iou[0] == 1 - 25 / 20_000
