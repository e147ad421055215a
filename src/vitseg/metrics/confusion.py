"""Confusion matrix and the scores that follow from it.

Definitions as in mmsegmentation, so that numbers are comparable: counts over the whole set, ignored pixels left out, a
class absent from both labels and predictions is NaN and skipped in the means, a class predicted but never labelled has
IoU and dice 0 and no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from vitseg.classes import IGNORE_INDEX
from vitseg.metrics.accumulator import Accumulator, check_maps, nanmean, ratio


def count_pairs(
    prediction: Integer[np.ndarray, "_ _"], labels: Integer[np.ndarray, "H W"], num_classes: int
) -> Int64[np.ndarray, "k k"]:
    """Confusion matrix of one image: pixels by label (row) and prediction (column), ignored ones left out.

    Args:
        prediction: Class indices.
        labels: Class indices or IGNORE_INDEX.
        num_classes: Classes.

    Raises:
        DataError: The sizes differ, or an index is outside [0, num_classes).
    """
    check_maps(prediction, labels, num_classes)
    # Ignored pixels are counted in a row of their own and dropped: cheaper than to pick out the others first.
    pairs = np.subtract(labels, IGNORE_INDEX, dtype=np.int64)  # 0 for ignored pixels
    pairs *= num_classes
    pairs += prediction
    counts = np.bincount(pairs.reshape(-1), minlength=(num_classes + 1) * num_classes)
    return counts.reshape(num_classes + 1, num_classes)[1:]


class ConfusionMatrix(Accumulator):
    """Pixel counts by label (row) and prediction (column), summed over images.

    Attributes:
        counts: (k, k) int64.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(
        self, prediction: Integer[np.ndarray, "_ _"], labels: Integer[np.ndarray, "H W"]
    ) -> Int64[np.ndarray, "k k"]:
        """Add one image and return its own counts; arguments and errors as for `count_pairs`."""
        counts = count_pairs(prediction, labels, len(self.counts))
        self.counts += counts
        return counts

    def scores(self) -> SegmentationScores:
        """Scores of everything added so far."""
        return scores_of(self.counts)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1]; NaN where undefined.

    With I, L and P the pixels of a class that are hit, labelled and predicted:

    Attributes:
        iou: I / (L + P - I), by class.
        accuracy: Recall I / L, by class.
        dice: 2 I / (L + P), by class.
        pixel_accuracy: Share of labelled pixels that are right (aAcc).
        pixels: L, by class.
    """

    iou: Float64[np.ndarray, " k"]
    accuracy: Float64[np.ndarray, " k"]
    dice: Float64[np.ndarray, " k"]
    pixel_accuracy: float
    pixels: Int64[np.ndarray, " k"]

    @property
    def mean_iou(self) -> float:
        """MIoU over the classes that are labelled or predicted."""
        return nanmean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """MAcc over the classes that are labelled."""
        return nanmean(self.accuracy)

    @property
    def mean_dice(self) -> float:
        """MDice over the classes that are labelled or predicted."""
        return nanmean(self.dice)

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU of the labelled classes, each weighted by its share of the labelled pixels (Long et al. 2015, sec. 5)."""
        labelled = self.pixels > 0
        if not labelled.any():
            return float("nan")
        return float(self.iou[labelled] @ (self.pixels[labelled] / self.pixels.sum()))


def scores_of(counts: Int64[np.ndarray, "k k"]) -> SegmentationScores:
    """Scores of a confusion matrix (rows: labels)."""
    hits, labelled, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    total = labelled.sum()
    return SegmentationScores(
        iou=ratio(hits, labelled + predicted - hits),
        accuracy=ratio(hits, labelled),
        dice=ratio(2 * hits, labelled + predicted),
        pixel_accuracy=float(hits.sum() / total) if total else float("nan"),
        pixels=labelled,
    )
