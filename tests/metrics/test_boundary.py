"""Trimap and boundary IoU against their definition, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.metrics.maps import NUM_CLASSES, distance_to_another, iou_of, pixels_of, random_pair
from vitseg.classes import IGNORE_INDEX
from vitseg.metrics.boundary import FAR, BoundaryIoU, Trimap, edge_distance


@pytest.mark.parametrize("seed", range(10))
def test_edge_distance(seed):
    _, labels = random_pair(seed, ignored=0.01)
    found = edge_distance(labels)
    for row, column in pixels_of(labels):
        expected = distance_to_another(labels, row, column)
        assert found[row, column] == (FAR if math.isinf(expected) else expected)


def test_a_pixel_that_touches_another_label_at_a_corner_is_at_distance_one():
    labels = np.zeros((4, 4), int)
    labels[0, 0] = 1
    assert edge_distance(labels).tolist() == [[1, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_trimap_scores_the_pixels_near_boundaries(seed):
    prediction, labels = random_pair(seed)
    widths = (1, 2, 3, 7)
    trimap = Trimap(NUM_CLASSES, widths)
    trimap.update(prediction, labels)
    for point in trimap.curve():
        band = [
            (prediction[at], labels[at])
            for at in pixels_of(labels)
            if labels[at] != IGNORE_INDEX and distance_to_another(labels, *at) <= point.width
        ]
        expected = [
            iou_of(sum(p == t == k for p, t in band), sum(k in (p, t) for p, t in band))
            for k in range(NUM_CLASSES)
        ]
        np.testing.assert_allclose(point.scores.iou, expected)
        assert point.scores.pixels.sum() == len(band)


def test_trimap_by_hand():
    """Classes 0 and 1 side by side; the prediction is one column off: half of a band of width 1, a quarter of 2."""
    labels = np.repeat([[0, 0, 0, 1, 1, 1]], 3, axis=0)
    prediction = np.repeat([[0, 0, 1, 1, 1, 1]], 3, axis=0)
    trimap = Trimap(2, (1, 2))
    trimap.update(prediction, labels)
    narrow, wide = (point.scores for point in trimap.curve())
    np.testing.assert_allclose(narrow.iou, [0, 1 / 2])
    np.testing.assert_allclose(wide.iou, [1 / 2, 2 / 3])
    assert narrow.pixel_accuracy == 1 / 2
    assert wide.pixel_accuracy == 3 / 4


def test_trimap_without_boundary_has_no_pixel():
    trimap = Trimap(2)
    trimap.update(np.zeros((5, 6), int), np.zeros((5, 6), int))
    assert all(math.isnan(point.scores.mean_iou) for point in trimap.curve())


def test_the_edge_of_an_ignored_region_is_a_boundary():
    labels = np.zeros((1, 6), int)
    labels[0, 0] = IGNORE_INDEX
    trimap = Trimap(1, (1, 2))
    trimap.update(np.zeros((1, 6), int), labels)
    assert [point.scores.pixels.sum() for point in trimap.curve()] == [1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_boundary_iou(seed, monkeypatch):
    monkeypatch.setattr("vitseg.metrics.boundary.DILATION_RATIO", 0.1)  # of maps this small
    prediction, labels = random_pair(seed)
    reach = max(1, round(0.1 * math.hypot(*labels.shape)))
    seen = np.where(labels == IGNORE_INDEX, IGNORE_INDEX, prediction.astype(int))
    hits, union = [0] * NUM_CLASSES, [0] * NUM_CLASSES
    for row, column in pixels_of(labels):
        if labels[row, column] == IGNORE_INDEX:
            continue
        height, width = labels.shape
        outside = min(row + 1, height - row, column + 1, width - column)

        def near(label_map, row=row, column=column, outside=outside):
            return min(distance_to_another(label_map, row, column), outside) <= reach

        true = labels[row, column] if near(labels) else None
        found = seen[row, column] if near(seen) else None
        for k in range(NUM_CLASSES):
            hits[k] += true == found == k
            union[k] += k in (true, found)
    measure = BoundaryIoU(NUM_CLASSES)
    measure.update(prediction, labels)
    expected = [iou_of(*pair) for pair in zip(hits, union, strict=True)]
    np.testing.assert_allclose(measure.scores().iou, expected)


def test_boundary_iou_of_a_shifted_square():
    """A square 40 wide in 100 x 100 pixels, d = 3: rings of 444 pixels, shifted by (2, 2)."""
    labels, prediction = np.zeros((2, 100, 100), int)
    labels[20:60, 20:60] = 1
    prediction[22:62, 22:62] = 1
    rings = np.zeros((2, 100, 100), bool)
    for ring, start in zip(rings, (20, 22), strict=True):
        ring[start : start + 40, start : start + 40] = True
        ring[start + 3 : start + 37, start + 3 : start + 37] = False
    measure = BoundaryIoU(2)
    measure.update(prediction, labels)
    shared = (rings[0] & rings[1]).sum()
    assert measure.counts[:, 1].tolist() == [shared, 444, 444]
    assert measure.scores().iou[1] == pytest.approx(shared / (888 - shared))


def test_boundary_iou_of_a_perfect_prediction_is_one_and_of_an_absent_class_nan():
    labels = np.arange(NUM_CLASSES).repeat(6)[None].repeat(9, axis=0)
    prediction = labels.astype(np.uint8)
    labels[2:4, 2:9] = IGNORE_INDEX
    measure = BoundaryIoU(NUM_CLASSES + 1)
    measure.update(prediction, labels)
    scores = measure.scores()
    assert scores.iou[:NUM_CLASSES].tolist() == [1] * NUM_CLASSES
    assert math.isnan(scores.iou[NUM_CLASSES])
    assert scores.mean_iou == 1


def test_a_wrong_spot_far_from_any_true_boundary_costs_boundary_iou_but_no_trimap():
    labels, prediction = np.zeros((2, 100, 100), int)
    labels[:, :20] = 1
    prediction[:, :20] = 1
    trimap, boundary = Trimap(2, (5,)), BoundaryIoU(2)
    prediction[45:55, 70:80] = 1
    trimap.update(prediction, labels)
    boundary.update(prediction, labels)
    assert trimap.curve()[0].scores.mean_iou == 1
    assert boundary.scores().iou[1] < 1
