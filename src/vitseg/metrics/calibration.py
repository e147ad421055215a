"""Whether the confidence of a prediction says how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError
from vitseg.metrics.accumulator import Accumulator, check_maps, ratio

NUM_BINS = 15

PIXELS, HITS, CONFIDENCE = range(3)


@dataclass(frozen=True)
class CalibrationScores:
    """Reliability curve and expected calibration error.

    Attributes:
        edges: Limits of the bins, 0 to 1; a bin contains its upper limit.
        pixels: Labelled pixels by bin.
        accuracy: Share of them that are right; NaN for an empty bin.
        confidence: Mean confidence of the pixels of a bin; NaN for an empty bin.
        ece: Mean |accuracy - confidence| of the bins, weighted by their pixels; NaN without pixels.
    """

    edges: Float64[np.ndarray, " _"]
    pixels: Int64[np.ndarray, " n"]
    accuracy: Float64[np.ndarray, " n"]
    confidence: Float64[np.ndarray, " n"]
    ece: float


class Calibration(Accumulator):
    """Calibration of the top class' probability in 15 bins of equal width (Guo et al. 2017, equations 2 to 5).

    Every labelled pixel is a sample; ignored ones count nowhere.

    Attributes:
        counts: (3, 15) float64: pixels, right pixels and the sum of the confidence, by bin.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((3, NUM_BINS))

    def update(
        self,
        prediction: Integer[np.ndarray, "_ _"],
        labels: Integer[np.ndarray, "H W"],
        confidence: Float32[np.ndarray, "_ _"],
    ) -> None:
        """Add one image.

        Args:
            prediction: Class indices.
            labels: Class indices or IGNORE_INDEX.
            confidence: Probability of the predicted class, in [0, 1].

        Raises:
            DataError: The sizes differ, an index is outside [0, num_classes), or a confidence outside [0, 1] or NaN.
        """
        check_maps(prediction, labels, self.num_classes)
        if confidence.shape != labels.shape:
            raise DataError(
                f"the confidence is of shape {confidence.shape} but the labels of {labels.shape}: give one per pixel."
            )
        low, high = confidence.min(initial=1), confidence.max(initial=0)
        if not (low >= 0 and high <= 1):  # not so for NaN
            raise DataError(
                f"confidences are from {low:.4g} to {high:.4g}, but must be probabilities, from 0 to 1: normalise "
                "the scores first."
            )
        valid = labels != IGNORE_INDEX
        sure = confidence[valid]
        bins = np.ceil(sure * NUM_BINS).astype(np.intp) - 1
        np.maximum(bins, 0, out=bins)  # a confidence of 0 belongs to the first bin
        hit = (prediction == labels)[valid]
        self.counts[PIXELS] += np.bincount(bins, minlength=NUM_BINS)
        self.counts[HITS] += np.bincount(bins[hit], minlength=NUM_BINS)
        self.counts[CONFIDENCE] += np.bincount(bins, weights=sure, minlength=NUM_BINS)

    def scores(self) -> CalibrationScores:
        """Scores of everything added so far."""
        pixels, hits, confidence = self.counts
        total = pixels.sum()
        ece = np.abs(hits - confidence).sum() / total if total else float("nan")
        return CalibrationScores(
            edges=np.linspace(0, 1, NUM_BINS + 1),
            pixels=pixels.astype(np.int64),
            accuracy=ratio(hits, pixels),
            confidence=ratio(confidence, pixels),
            ece=float(ece),
        )
