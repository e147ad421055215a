"""The images that went wrong, collected while an evaluation runs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Int64, UInt8

from vitseg.evaluation.evaluate import SampleResult
from vitseg.metrics.accumulator import nanmean
from vitseg.metrics.confusion import scores_of
from vitseg.render.report_data import Confusion, SampleView
from vitseg.render.thumbnail import make_thumbnail

IMAGES_PER_CELL = 6
"""Images that are remembered by cell of the confusion matrix."""

CONFUSION_PICTURES = 40
"""Images that are kept as pictures for the confusion matrix, beside those of the gallery."""

CONFUSIONS_PER_IMAGE = 5
"""Confusions that are named with an image."""


@dataclass(frozen=True)
class _Quality:
    """Limits of a kept picture: long side in pixels, and bytes."""

    long_side: int
    max_bytes: int


# With 50 images in the gallery and base64, at most 19 MB on the page, however the images look; usually a third.
_GALLERY = _Quality(640, 240_000)
_CELL = _Quality(384, 60_000)


def image_miou(counts: Int64[np.ndarray, "k k"]) -> float:
    """Mean over the classes labelled in an image of their IoU in it, in [0, 1]; NaN if no pixel is labelled.

    A class that is predicted but not labelled lowers the IoU of the classes that it takes pixels from, and is not
    counted once more.

    Args:
        counts: The image's confusion matrix, pixels by label (row) and prediction (column).
    """
    scores = scores_of(counts)
    return nanmean(scores.iou[scores.pixels > 0])


class WorstSamples:
    """The worst images of an evaluation, and for every confusion the images with most of it.

    Memory does not grow with the number of images: kept are the pictures of `num_samples` images for the gallery and of
    CONFUSION_PICTURES for the confusion matrix, and for each of its cells the names of IMAGES_PER_CELL.

    Args:
        num_samples: Images in the gallery.
        num_classes: Classes.
    """

    def __init__(self, num_samples: int, num_classes: int):
        self.num_samples = num_samples
        self.num_classes = num_classes
        self._cells = _CellImages(num_classes)
        self._worst: list[
            tuple[float, int, SampleView]
        ] = []  # a heap: the best of the worst is first
        self._pictured: list[_Pictured] = []
        self._num_seen = 0

    def add(
        self, result: SampleResult, load_image: Callable[[], UInt8[np.ndarray, "H W 3"]]
    ) -> None:
        """Look at one image.

        Args:
            result: What was found on it.
            load_image: Gives its (H, W, 3) uint8 RGB; called only if the image is kept, and at most once.
        """
        load_image = cache(load_image)
        self._num_seen += 1
        self._add_to_gallery(result, load_image)
        self._add_to_cells(result, load_image)

    @property
    def worst(self) -> tuple[SampleView, ...]:
        """The images of the lowest mIoU, worst first; of equal ones, the earlier first."""
        return tuple(
            view for _, _, view in sorted(self._worst, key=lambda kept: (-kept[0], -kept[1]))
        )

    @property
    def confusion_views(self) -> tuple[SampleView, ...]:
        """The images kept for the confusion matrix, some of which may be in the gallery as well."""
        return tuple(pictured.view for pictured in self._pictured)

    def cell_images(self) -> dict[tuple[int, int], tuple[tuple[str, int], ...]]:
        """By cell (label, prediction), the images with most of its pixels as (id, pixels), most first."""
        return self._cells.by_cell()

    def _add_to_gallery(
        self, result: SampleResult, load_image: Callable[[], UInt8[np.ndarray, "H W 3"]]
    ) -> None:
        miou = image_miou(result.counts)
        if math.isnan(miou) or not self.num_samples:
            return
        rank = (-miou, -self._num_seen)
        full = len(self._worst) == self.num_samples
        if full and rank < self._worst[0][:2]:
            return
        kept = (*rank, _view(result, load_image, _GALLERY))
        if full:
            heapq.heapreplace(self._worst, kept)
        else:
            heapq.heappush(self._worst, kept)

    def _add_to_cells(
        self, result: SampleResult, load_image: Callable[[], UInt8[np.ndarray, "H W 3"]]
    ) -> None:
        labels, predicted = self._cells.add(result.id, result.counts)
        wrong = labels != predicted
        labels, predicted = labels[wrong], predicted[wrong]
        pixels = result.counts[labels, predicted]
        if len(self._pictured) == CONFUSION_PICTURES:
            importance = [kept.importance(self._cells) for kept in self._pictured]
            least = int(np.argmin(importance))
            if pixels.max(initial=0) <= importance[least]:
                return
            del self._pictured[least]
        elif not pixels.size:
            return
        view = _view(result, load_image, _CELL)
        self._pictured.append(_Pictured(view, labels, predicted, pixels))


class _CellImages:
    """For every cell of the confusion matrix, the images with most pixels in it, most first."""

    def __init__(self, num_classes: int):
        shape = (num_classes, num_classes, IMAGES_PER_CELL)
        self.pixels = np.zeros(shape, dtype=np.int64)
        self._ids = np.full(shape, None, dtype=object)

    def add(self, sample_id: str, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Enter an image wherever it is among the first; rows and columns of these cells."""
        rows, columns = np.nonzero(counts > self.pixels[..., -1])
        pixels = np.column_stack([self.pixels[rows, columns], counts[rows, columns]])
        ids = np.column_stack(
            [self._ids[rows, columns], np.full(len(rows), sample_id, dtype=object)]
        )
        order = np.argsort(-pixels, axis=1, kind="stable")[:, :-1]
        self.pixels[rows, columns] = np.take_along_axis(pixels, order, axis=1)
        self._ids[rows, columns] = np.take_along_axis(ids, order, axis=1)
        return rows, columns

    def by_cell(self) -> dict[tuple[int, int], tuple[tuple[str, int], ...]]:
        found: dict[tuple[int, int], tuple[tuple[str, int], ...]] = {}
        for row, column in np.argwhere(self.pixels[..., 0]):
            entries = zip(self._ids[row, column], self.pixels[row, column], strict=True)
            found[int(row), int(column)] = tuple(
                (name, int(count)) for name, count in entries if count
            )
        return found


@dataclass(frozen=True)
class _Pictured:
    """An image with pictures, and the pixels of its confusions that were among the first when it came."""

    view: SampleView
    labels: np.ndarray
    predicted: np.ndarray
    pixels: np.ndarray

    def importance(self, cells: _CellImages) -> int:
        """Pixels of its largest confusion in which it is among the first still."""
        still = self.pixels >= cells.pixels[self.labels, self.predicted, -1]
        return int(self.pixels[still].max(initial=0))


def _view(
    result: SampleResult, load_image: Callable[[], np.ndarray], quality: _Quality
) -> SampleView:
    counts = result.counts
    thumbnail = make_thumbnail(
        load_image(),
        result.labels,
        result.prediction,
        result.confidence,
        num_classes=len(counts),
        long_side=quality.long_side,
        max_bytes=quality.max_bytes,
    )
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_PER_IMAGE]
    cells = [(*divmod(int(cell), len(counts)), int(wrong.flat[cell])) for cell in largest]
    return SampleView(
        id=result.id,
        miou=image_miou(counts),
        accuracy=scores_of(counts).pixel_accuracy,
        confusions=tuple(Confusion(*cell) for cell in cells if cell[2]),
        thumbnail=thumbnail,
    )
