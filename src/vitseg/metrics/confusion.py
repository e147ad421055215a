"""Confusion matrix and the scores that follow from it.

Definitions as in mmsegmentation, so that numbers are comparable: counts over the whole set, ignored pixels left out, a
class absent from both labels and predictions is NaN and skipped in the means, a class predicted but never labelled has
IoU 0 and no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitseg.classes import IGNORE_INDEX


class ConfusionMatrix:
    """Pixel counts by label (row) and prediction (column), summed over images."""

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(self, prediction: np.ndarray, labels: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: Class indices, (H, W).
            labels: Class indices or IGNORE_INDEX, (H, W).
        """
        if prediction.shape != labels.shape:
            raise ValueError(f"prediction is {prediction.shape} but labels are {labels.shape}")
        num_classes = len(self.counts)
        valid = labels != IGNORE_INDEX
        pairs = labels[valid].astype(np.int64) * num_classes + prediction[valid]
        self.counts += np.bincount(pairs, minlength=num_classes**2).reshape(self.counts.shape)

    def scores(self) -> SegmentationScores:
        """Scores of everything added so far."""
        hits = np.diag(self.counts).astype(np.float64)
        labelled = self.counts.sum(1)
        union = labelled + self.counts.sum(0) - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = hits / union
            accuracy = hits / labelled
            pixel_accuracy = hits.sum() / labelled.sum()
        return SegmentationScores(iou, accuracy, float(pixel_accuracy), labelled)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1]; NaN where undefined.

    Attributes:
        iou: Intersection over union by class.
        accuracy: Recall by class.
        pixel_accuracy: Share of labelled pixels that are right (aAcc).
        pixels: Labelled pixels by class.
    """

    iou: np.ndarray
    accuracy: np.ndarray
    pixel_accuracy: float
    pixels: np.ndarray

    @property
    def mean_iou(self) -> float:
        """MIoU over the classes that are labelled or predicted."""
        return _nanmean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """MAcc over the classes that are labelled."""
        return _nanmean(self.accuracy)


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
