"""IoU of small, medium and large objects apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer
from scipy.ndimage import label as connect

from vitseg.classes import IGNORE_INDEX
from vitseg.metrics.accumulator import Accumulator, check_maps, nanmean, ratio

BINS = ("small", "medium", "large")
AREA_LIMITS = (32**2, 96**2)
"""Pixels at which an object is no longer small, and no longer medium (COCO's limits)."""

HITS, LABELLED, FALSE, OBJECTS = range(4)


@dataclass(frozen=True)
class SizeScores:
    """Scores of the objects of one size.

    Attributes:
        iou: IoU by class, in [0, 1]; NaN for a class that has no object of this size.
        objects: Number of objects, by class.
    """

    iou: Float64[np.ndarray, " k"]
    objects: Int64[np.ndarray, " k"]

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that have an object of this size."""
        return nanmean(self.iou)


class SizeBinnedIoU(Accumulator):
    """IoU by the size of ground-truth objects, with COCO's area limits: small < 32^2 <= medium < 96^2 <= large.

    An object is a 4-connected region of one label; its area is its pixels in the image as it is scored. Ignored pixels
    are taken out of labels and prediction first, so that they count nowhere and may part a region. For a class and a
    size, IoU is hits / (labelled + false):

    - labelled: pixels of the objects of that size; hits: those of them that are predicted as the class.
    - false: pixels predicted as the class that are not of it. As in COCO, a predicted region belongs to the size of
      the objects of its class that it meets (by most pixels; if equal, the smaller size), one that meets none to the
      size of its own area.

    So the sizes share out the confusion matrix: hits, labelled and false of the three add up to those of plain IoU.
    A class that has no object of a size is skipped there, whatever was predicted, as COCO skips it.

    Attributes:
        counts: (3 sizes, 4, k) int64: hits, labelled and false pixels, and objects.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((len(BINS), 4, num_classes), dtype=np.int64)

    def update(
        self, prediction: Integer[np.ndarray, "_ _"], labels: Integer[np.ndarray, "H W"]
    ) -> None:
        """Add one image.

        Args:
            prediction: Class indices.
            labels: Class indices or IGNORE_INDEX.

        Raises:
            DataError: The sizes differ, or an index is outside [0, num_classes).
        """
        num_classes = self.counts.shape[2]
        check_maps(prediction, labels, num_classes)
        valid = labels != IGNORE_INDEX
        hit = labels == prediction
        false = valid & ~hit
        objects, object_sizes = _sized_regions(labels)
        regions, region_sizes = _sized_regions(np.where(valid, prediction, labels))
        size_at = object_sizes[objects]

        met = _table(regions[hit], size_at[hit], (len(region_sizes), len(BINS)))
        region_sizes = np.where(met.any(1), met.argmax(1), region_sizes)
        class_of = np.zeros(len(object_sizes), dtype=np.int64)
        class_of[objects[valid]] = labels[valid]
        for kind, sizes, classes in (
            (HITS, size_at[hit], labels[hit]),
            (LABELLED, size_at[valid], labels[valid]),
            (FALSE, region_sizes[regions[false]], prediction[false]),
            (OBJECTS, object_sizes[1:], class_of[1:]),
        ):
            self.counts[:, kind] += _table(sizes, classes, (len(BINS), num_classes))

    def scores(self) -> dict[str, SizeScores]:
        """Scores of everything added so far, by size."""
        found = {}
        for name, counts in zip(BINS, self.counts, strict=True):
            iou = ratio(counts[HITS], counts[LABELLED] + counts[FALSE])
            iou[counts[OBJECTS] == 0] = np.nan
            found[name] = SizeScores(iou, counts[OBJECTS])
        return found


def connected_regions(
    label_map: Integer[np.ndarray, "H W"],
) -> tuple[Int32[np.ndarray, "H W"], int]:
    """Number of the 4-connected region of one label that each pixel is in, and how many there are.

    Regions count from 1; ignored pixels are 0.
    """
    height, width = label_map.shape
    if not label_map.size:
        return np.zeros((height, width), dtype=np.int32), 0
    inside = label_map != IGNORE_INDEX
    # All classes at once: pixels stand on a grid of twice the size, and what lies between two of them joins them.
    grid = np.zeros((2 * height - 1, 2 * width - 1), dtype=bool)
    grid[::2, ::2] = inside
    grid[1::2, ::2] = inside[1:] & (label_map[1:] == label_map[:-1])
    grid[::2, 1::2] = inside[:, 1:] & (label_map[:, 1:] == label_map[:, :-1])
    marks = np.empty(grid.shape, dtype=np.int32)
    count = connect(grid, output=marks)
    assert isinstance(count, int)
    return np.ascontiguousarray(marks[::2, ::2]), count


def _sized_regions(
    label_map: Integer[np.ndarray, "H W"],
) -> tuple[Int32[np.ndarray, "H W"], Int64[np.ndarray, " n"]]:
    """Region of every pixel, and the index in BINS of every region (entry 0: the ignored pixels, of no meaning)."""
    regions, count = connected_regions(label_map)
    areas = np.bincount(regions.reshape(-1), minlength=count + 1)
    return regions, np.searchsorted(AREA_LIMITS, areas, side="right")


def _table(
    rows: Integer[np.ndarray, " n"], columns: Integer[np.ndarray, " n"], shape: tuple[int, int]
) -> Int64[np.ndarray, "_ _"]:
    """How often each (row, column) occurs."""
    cells = np.multiply(rows, shape[1], dtype=np.int64)
    cells += columns
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)
