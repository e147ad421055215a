"""How good a segmentation is near the boundaries: trimap mIoU and boundary IoU.

Both measure distances in the chessboard metric, in which the pixels within d of a set are its dilation by a square of
side 2 d + 1, and both treat ignored pixels as a region of their own: they count nowhere, but the edge of an ignored
region is a boundary (the original trimap is the band around the "void" contours of PASCAL VOC).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Integer
from scipy.ndimage import distance_transform_cdt

from vitseg.classes import IGNORE_INDEX
from vitseg.metrics.accumulator import Accumulator, check_maps, nanmean, ratio
from vitseg.metrics.confusion import SegmentationScores, scores_of

WIDTHS = (1, 2, 4, 8, 16, 32)
"""Band widths of the trimap curve, in pixels."""

DILATION_RATIO = 0.02
"""Width of the band of the boundary IoU, as a share of the image diagonal (Cheng et al. 2021, section 5)."""

FAR = np.iinfo(np.int32).max


def edge_distance(label_map: Integer[np.ndarray, "H W"]) -> Int32[np.ndarray, "H W"]:
    """Chessboard distance of every pixel to the nearest pixel with another label, in pixels; FAR if there is none.

    A pixel that touches another label, be it at a corner, is at distance 1. The image border is no boundary.
    """
    touching = np.zeros(label_map.shape, dtype=bool)
    for first, second in _NEIGHBOURS:
        differs = label_map[first] != label_map[second]
        touching[first] |= differs
        touching[second] |= differs
    if not touching.any():
        return np.full(label_map.shape, FAR, dtype=np.int32)
    # A straight way to the nearest other label ends beside it, on a pixel that touches it: one step less.
    distance = distance_transform_cdt(~touching, metric="chessboard")
    assert isinstance(distance, np.ndarray)
    distance += 1
    return distance


_ALL, _AFTER, _BEFORE = slice(None), slice(1, None), slice(None, -1)
_NEIGHBOURS = (
    ((_AFTER, _ALL), (_BEFORE, _ALL)),
    ((_ALL, _AFTER), (_ALL, _BEFORE)),
    ((_AFTER, _AFTER), (_BEFORE, _BEFORE)),
    ((_AFTER, _BEFORE), (_BEFORE, _AFTER)),
)
"""Every pair of 8-neighbours, as two views of a map."""


@dataclass(frozen=True)
class TrimapPoint:
    """Scores of the pixels in the band of one width.

    Attributes:
        width: Reach of the band on either side of a boundary, in pixels.
        scores: All scores of a confusion matrix; `scores.mean_iou` is the trimap mIoU.
    """

    width: int
    scores: SegmentationScores


class Trimap(Accumulator):
    """mIoU of the pixels near ground-truth boundaries, as a curve over band widths.

    The measure of the thesis on NRD (section 3.3), which follows DeepLabv3+ (Chen et al. 2018, section 4.5). A pixel is
    in the band of width N if a pixel with another ground-truth label, or an ignored one, lies within N pixels of it.
    Ignored pixels are not scored; the image border is no boundary. Counts are summed over the whole set, then mIoU is
    taken as always; a class that has no pixel in the band, labelled or predicted, is skipped.

    Attributes:
        counts: (widths, k, k) int64: confusion matrices of the rings between one width and the next.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...] = WIDTHS):
        assert widths and list(widths) == sorted(set(widths)), widths
        assert widths[0] >= 1, widths
        self.widths = widths
        self.counts = np.zeros((len(widths), num_classes, num_classes), dtype=np.int64)
        self._ring_at = np.searchsorted(widths, np.arange(widths[-1] + 1))

    def update(
        self,
        prediction: Integer[np.ndarray, "_ _"],
        labels: Integer[np.ndarray, "H W"],
        distance: Int32[np.ndarray, "H W"] | None = None,
    ) -> None:
        """Add one image.

        Args:
            prediction: Class indices.
            labels: Class indices or IGNORE_INDEX.
            distance: `edge_distance(labels)`, where it is known already.

        Raises:
            DataError: The sizes differ, or an index is outside [0, num_classes).
        """
        num_classes = self.counts.shape[1]
        check_maps(prediction, labels, num_classes)
        distance = edge_distance(labels) if distance is None else distance
        near = (distance <= self.widths[-1]) & (labels != IGNORE_INDEX)
        pairs = self._ring_at[distance[near]]
        for indices in (labels, prediction):
            pairs *= num_classes
            pairs += indices[near]
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def curve(self) -> tuple[TrimapPoint, ...]:
        """Scores at every width, narrow to wide."""
        bands = self.counts.cumsum(0)
        return tuple(
            TrimapPoint(width, scores_of(band))
            for width, band in zip(self.widths, bands, strict=True)
        )


@dataclass(frozen=True)
class BoundaryScores:
    """Boundary IoU by class, in [0, 1]; NaN for a class without boundary in labels and predictions."""

    iou: Float64[np.ndarray, " k"]

    @property
    def mean_iou(self) -> float:
        """Mean over the classes where it is defined."""
        return nanmean(self.iou)


class BoundaryIoU(Accumulator):
    """IoU of the boundary regions of labels and prediction (Cheng et al. 2021, "Boundary IoU", equation 2).

    The boundary region of a class is the part of its own pixels within d pixels of its contour; the image border is
    part of the contour, as in the paper's implementation. d is 2 % of the image diagonal, at least 1 pixel. Unlike the
    trimap it sees both boundaries, so that a wrong prediction far from any true boundary costs, too. Pixels are summed
    over the whole set before the division. Ignored pixels are taken out of both maps.

    Attributes:
        counts: (3, k) int64: pixels in both boundary regions, in that of the labels, in that of the prediction.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((3, num_classes), dtype=np.int64)

    def update(
        self,
        prediction: Integer[np.ndarray, "_ _"],
        labels: Integer[np.ndarray, "H W"],
        distance: Int32[np.ndarray, "H W"] | None = None,
    ) -> None:
        """Add one image; arguments and errors as for `Trimap.update`."""
        num_classes = self.counts.shape[1]
        check_maps(prediction, labels, num_classes)
        reach = max(1, round(DILATION_RATIO * math.hypot(*labels.shape)))
        valid = labels != IGNORE_INDEX
        seen = np.where(valid, prediction, labels)  # a type that holds both
        distance = edge_distance(labels) if distance is None else distance
        border = _border_distance(*labels.shape) <= reach
        true_band = valid & (border | (distance <= reach))
        seen_band = valid & (border | (edge_distance(seen) <= reach))
        both = true_band & seen_band & (seen == labels)
        for row, where in enumerate((labels[both], labels[true_band], seen[seen_band])):
            self.counts[row] += np.bincount(where, minlength=num_classes)

    def scores(self) -> BoundaryScores:
        """Scores of everything added so far."""
        both, true, seen = self.counts
        return BoundaryScores(ratio(both, true + seen - both))


def _border_distance(height: int, width: int) -> Integer[np.ndarray, "H W"]:
    """Chessboard distance to the nearest place outside the image: 1 at the border."""
    rows, columns = np.arange(1, height + 1), np.arange(1, width + 1)
    return np.minimum.outer(np.minimum(rows, rows[::-1]), np.minimum(columns, columns[::-1]))
