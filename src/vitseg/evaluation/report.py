"""What the report of an evaluation needs beside the scores: the images that went wrong, collected image by image."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
from jaxtyping import Int64

from vitseg.evaluation.evaluate import Evaluation, SampleResult
from vitseg.metrics.accumulator import nanmean
from vitseg.metrics.confusion import scores_of
from vitseg.render.report_data import (
    ClassScore,
    Confusion,
    ReliabilityBin,
    ReportData,
    SampleView,
    SizeScore,
)
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

    def add(self, result: SampleResult, load_image: Callable[[], np.ndarray]) -> None:
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

    def _add_to_gallery(self, result: SampleResult, load_image: Callable[[], np.ndarray]) -> None:
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

    def _add_to_cells(self, result: SampleResult, load_image: Callable[[], np.ndarray]) -> None:
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
        found = {}
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


def report_data(
    evaluation: Evaluation,
    samples: WorstSamples,
    title: str,
    facts: Mapping[str, str] | None = None,
) -> ReportData:
    """What the page shows.

    Args:
        evaluation: Scores and protocol.
        samples: Fed with every image of this evaluation.
        title: Heading of the page.
        facts: More of the protocol, shown first: what the evaluation does not know, such as the model's name and the
            hash of its weights.
    """
    scores, measures = evaluation.scores, evaluation.measures
    headline = {
        "mIoU": scores.mean_iou,
        "mAcc": scores.mean_accuracy,
        "aAcc": scores.pixel_accuracy,
        "Weighted IoU": scores.frequency_weighted_iou,
        "Dice": scores.mean_dice,
    }
    if measures.boundary is not None:
        headline["Boundary IoU"] = measures.boundary.mean_iou
    if measures.calibration is not None:
        headline["ECE"] = measures.calibration.ece
    views = {
        view.id: view for view in (*samples.confusion_views, *samples.worst)
    }  # the gallery's are larger
    return ReportData(
        title=title,
        protocol={**(facts or {}), **_protocol(evaluation)},
        headline=headline,
        classes=_class_scores(evaluation),
        confusion=evaluation.counts,
        cell_images=samples.cell_images(),
        samples=views,
        worst=tuple(view.id for view in samples.worst),
        trimap=tuple((point.width, point.scores.mean_iou) for point in measures.trimap or ()),
        miou=scores.mean_iou,
        sizes=tuple(
            SizeScore(name, size.mean_iou, int(size.objects.sum()))
            for name, size in (measures.size or {}).items()
        ),
        reliability=_reliability(evaluation),
        ece=float("nan") if measures.calibration is None else measures.calibration.ece,
    )


def _class_scores(evaluation: Evaluation) -> tuple[ClassScore, ...]:
    scores, boundary = evaluation.scores, evaluation.measures.boundary
    return tuple(
        ClassScore(
            name=name,
            color=color,
            pixels=int(scores.pixels[index]),
            iou=float(scores.iou[index]),
            accuracy=float(scores.accuracy[index]),
            dice=float(scores.dice[index]),
            boundary_iou=None if boundary is None else float(boundary.iou[index]),
        )
        for index, (name, color) in enumerate(
            zip(evaluation.classes.names, evaluation.classes.palette, strict=True)
        )
    )


def _reliability(evaluation: Evaluation) -> tuple[ReliabilityBin, ...]:
    found = evaluation.measures.calibration
    if found is None:
        return ()
    total = max(1, int(found.pixels.sum()))
    return tuple(
        ReliabilityBin(
            low=float(found.edges[index]),
            high=float(found.edges[index + 1]),
            confidence=float(found.confidence[index]),
            accuracy=float(found.accuracy[index]),
            share=int(pixels) / total,
        )
        for index, pixels in enumerate(found.pixels)
    )


def _protocol(evaluation: Evaluation) -> dict[str, str]:
    """The protocol in words, the date of today with it."""
    known = evaluation.protocol
    versions = known["versions"]
    facts = {
        "Data set": known["dataset"],
        "Split": known["split"],
        "Images": f"{known['images']:,}",
        "Data hash": known["content_hash"],
        **_inference_facts(known["inference"]),
        "Left out": ", ".join(known["without_classes"]),
        "Device": known["device"],
        "vitseg": f"{versions['vitseg']}{_in_brackets(known['commit'])}",
        "Packages": ", ".join(
            f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions
        ),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return {name: value for name, value in facts.items() if value}


def _inference_facts(inference: Mapping) -> dict[str, str]:
    """How images were run through the model; sizes as in the configuration, (height, width) or (long, short)."""
    resize, window = inference["resize"], inference["crop_size"]
    facts = {
        "Mode": {"whole": "whole image", "slide": "sliding window"}.get(
            inference["mode"], inference["mode"]
        ),
        "Resize": f"long side {resize[0]}, short side {resize[1]}" if resize else "none",
        "Least short side": str(inference.get("min_short") or ""),
        "Scales": ", ".join(f"{scale:g}" for scale in inference["scales"]),
        "Flip": "yes" if inference["flip"] else "no",
    }
    if window:
        facts["Crop"] = _size(window)
        facts["Stride"] = _size(inference["stride"])
    return facts


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} × {size[1]} px" + ("" if size[0] == size[1] else " (height × width)")


def _in_brackets(text: str | None) -> str:
    return f" ({text})" if text else ""
