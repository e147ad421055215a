"""Measures beyond the confusion matrix, taken on request since they cost time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from vitseg.errors import ConfigError, unknown_name
from vitseg.metrics.boundary import BoundaryIoU, BoundaryScores, Trimap, TrimapPoint, edge_distance
from vitseg.metrics.calibration import Calibration, CalibrationScores
from vitseg.metrics.size import SizeBinnedIoU, SizeScores

MEASURES = ("boundary", "size", "calibration")
"""boundary: trimap curve and boundary IoU; size: IoU by object size; calibration: ECE and reliability curve."""


@dataclass(frozen=True)
class MeasureScores:
    """What was measured beyond the confusion matrix; None where it was not asked for."""

    trimap: tuple[TrimapPoint, ...] | None = None
    boundary: BoundaryScores | None = None
    size: dict[str, SizeScores] | None = None
    calibration: CalibrationScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values of what was measured, in [0, 1], null where undefined.

        Keys: `trimap` (a list of `width` in pixels and `miou`), `boundary_iou`, `size_iou` (by size: `miou`,
        `objects`), `ece`, and `reliability` (by bin: `from`, `to`, `confidence`, `accuracy`, `pixels`).
        """
        values: dict[str, Any] = {}
        if self.trimap is not None:
            values["trimap"] = [
                {"width": point.width, "miou": plain(point.scores.mean_iou)}
                for point in self.trimap
            ]
        if self.boundary is not None:
            values["boundary_iou"] = plain(self.boundary.mean_iou)
        if self.size is not None:
            values["size_iou"] = {
                name: {"miou": plain(scores.mean_iou), "objects": int(scores.objects.sum())}
                for name, scores in self.size.items()
            }
        if self.calibration is not None:
            values["ece"] = plain(self.calibration.ece)
            values["reliability"] = _reliability(self.calibration)
        return values

    def class_json(self, index: int) -> dict[str, Any]:
        """What was measured of one class: `boundary_iou`, `size_iou` by size."""
        values: dict[str, Any] = {}
        if self.boundary is not None:
            values["boundary_iou"] = plain(self.boundary.iou[index])
        if self.size is not None:
            values["size_iou"] = {n: plain(scores.iou[index]) for n, scores in self.size.items()}
        return values


class Measures:
    """The accumulators of the measures that were asked for.

    Args:
        names: Some of MEASURES.
        num_classes: Classes.
    """

    def __init__(self, names: Sequence[str], num_classes: int):
        require_known(names)
        self.trimap = Trimap(num_classes) if "boundary" in names else None
        self.boundary = BoundaryIoU(num_classes) if "boundary" in names else None
        self.size = SizeBinnedIoU(num_classes) if "size" in names else None
        self.calibration = Calibration(num_classes) if "calibration" in names else None

    def update(
        self,
        prediction: Integer[np.ndarray, "H W"],
        labels: Integer[np.ndarray, "H W"],
        confidence: Float[np.ndarray, "H W"] | None,
    ) -> None:
        """Add one image.

        Args:
            prediction: Class indices, (H, W).
            labels: Class indices or IGNORE_INDEX, (H, W).
            confidence: Probability of the predicted class, (H, W); needed for the calibration alone.
        """
        if self.trimap is not None and self.boundary is not None:
            distance = edge_distance(labels)
            self.trimap.update(prediction, labels, distance)
            self.boundary.update(prediction, labels, distance)
        if self.size is not None:
            self.size.update(prediction, labels)
        if self.calibration is not None:
            assert confidence is not None
            self.calibration.update(prediction, labels, confidence)

    def scores(self) -> MeasureScores:
        """Scores of everything added so far."""
        return MeasureScores(
            trimap=self.trimap and self.trimap.curve(),
            boundary=self.boundary and self.boundary.scores(),
            size=self.size and self.size.scores(),
            calibration=self.calibration and self.calibration.scores(),
        )


def require_known(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is none of MEASURES."""
    for name in names:
        if name not in MEASURES:
            raise ConfigError(unknown_name("measure", name, MEASURES))


def plain(value: float) -> float | None:
    """A score for JSON, which has no NaN."""
    return None if math.isnan(value) else float(value)


def _reliability(scores: CalibrationScores) -> list[dict[str, Any]]:
    return [
        {
            "from": float(low),
            "to": float(high),
            "confidence": plain(confidence),
            "accuracy": plain(accuracy),
            "pixels": int(pixels),
        }
        for low, high, confidence, accuracy, pixels in zip(
            scores.edges,
            scores.edges[1:],
            scores.confidence,
            scores.accuracy,
            scores.pixels,
            strict=False,
        )
    ]
