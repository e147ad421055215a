"""Class scores at pixel size, all at once or in row strips.

A full-resolution score map has num_classes floats per pixel: 7 GB for a 4000 x 3000 photo with 150 classes. So scores
are a source that hands out rows on demand, and labels are taken strip by strip; the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from vitseg.errors import VitsegError
from vitseg.layers.resize import resize_map
from vitseg.outputs import Distribution, SegOutput
from vitseg.types import Size

STRIP_ELEMENTS = 1_500_000
"""Scores (classes x pixels) per strip: 6 MB in float32. Smaller strips upsample more rows than they give, larger ones
leave the processor's cache: `benchmarks/fused_labels.py`."""

LARGEST_STRIP = 16_000_000
"""Scores per strip at most, whatever `min_rows` asks for, but one row: 64 MB in float32."""


@runtime_checkable
class ScoreMap(Protocol):
    """Class scores of one image, row by row.

    Attributes:
        size: (height, width) in pixels.
        num_classes: Classes.
        min_rows: Rows to ask for at a time at least, lest neighbouring strips compute much twice.
        distribution: How the scores of a pixel become probabilities.
    """

    size: Size
    num_classes: int
    min_rows: int
    distribution: Distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        """Scores of the rows [start, stop); none negative where the distribution is "share"."""
        ...


class OutputScores:
    """Scores of one image of a model's output."""

    def __init__(self, output: SegOutput, index: int = 0):
        self.output = output.of_image(index)
        self.size = output.input_size
        self.num_classes = output.num_classes
        self.min_rows = 1
        self.distribution: Distribution = output.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.output.scores((start, stop))[0]


class TensorScores:
    """Scores that are already there, as of an averaged sliding window."""

    def __init__(self, scores: Float[Tensor, "k H W"], distribution: Distribution = "share"):
        self.scores = scores
        self.size = (scores.shape[1], scores.shape[2])
        self.num_classes = scores.shape[0]
        self.min_rows = 1
        self.distribution: Distribution = distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.scores[:, start:stop]


class ResizedScores:
    """Scores resized bilinearly (align_corners=False) to another size, rows on demand."""

    def __init__(self, source: ScoreMap, size: Size):
        self.source = source
        self.size = size
        self.num_classes = source.num_classes
        # Every strip needs a source row more than its share: with four rows or more the waste is small.
        self.min_rows = min(64, max(1, round(4 * size[0] / source.size[0])))
        self.distribution: Distribution = source.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        source_height = self.source.size[0]
        scale = source_height / self.size[0]
        first = max(0, int((start + 0.5) * scale - 0.5))
        last = min(source_height - 1, int(max(0.0, (stop - 0.5) * scale - 0.5)) + 1)
        band = self.source.rows(first, last + 1)[None]  # (1, k, rows, w)
        position = (torch.arange(start, stop, device=band.device) + 0.5) * scale - 0.5
        position = position.clamp(min=0)
        # In float32 a position may round to the other side of a row that lies outside the band.
        above = position.floor().long().clamp(first, last)
        below = (above + 1).clamp(max=last)
        weight = (position - above).clamp(0, 1).to(band.dtype)[:, None]
        rows = torch.lerp(band[..., above - first, :], band[..., below - first, :], weight)
        rows = resize_map(rows, (stop - start, self.size[1]))
        return rows[0]


class View(NamedTuple):
    """Scores of one view of an image, at the size of the image; those of a mirrored view are mirrored."""

    scores: ScoreMap
    mirrored: bool


class MeanScores:
    """The mean of the softmaxes of several views, row by row."""

    distribution: Distribution = "share"

    def __init__(self, views: Sequence[View]):
        self.views = views
        first = views[0].scores
        self.size = first.size
        self.num_classes = first.num_classes
        self.min_rows = max(view.scores.min_rows for view in views)

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        total: Tensor | None = None
        for view in self.views:
            rows = view.scores.rows(start, stop)
            probs = _softmax(rows)
            probs = probs.flip(2) if view.mirrored else probs
            total = probs if total is None else total.add_(probs)
        assert total is not None
        return total.div_(len(self.views))


def _softmax(rows: Float[Tensor, "k R W"]) -> Float[Tensor, "k R W"]:
    """Softmax of every pixel; along the last axis, which is faster, where the classes of a pixel lie side by side."""
    if rows.stride(0) != 1:
        return rows.softmax(0)
    return rows.permute(1, 2, 0).softmax(-1).permute(2, 0, 1)


def resized(source: ScoreMap, size: Size) -> ScoreMap:
    """The source at another size; itself where the size is the same."""
    return source if tuple(source.size) == tuple(size) else ResizedScores(source, size)


def full_scores(source: ScoreMap) -> Float[Tensor, "k H W"]:
    """All rows at once."""
    return source.rows(0, source.size[0])


def label_map(source: ScoreMap) -> Integer[np.ndarray, "H W"]:
    """Index of the best class of every pixel, (H, W), in the smallest unsigned type that holds it.

    Raises:
        VitsegError: A score is NaN or infinite.
    """
    labels = _empty_labels(source)
    finite = []
    for start, stop in _strips(source):
        best, index = source.rows(start, stop).max(0)
        finite.append(best.isfinite().all())
        labels[start:stop] = index.cpu().numpy()
    _require_finite(finite)
    return labels


def labels_and_confidence(
    source: ScoreMap,
) -> tuple[Integer[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """The labels of `label_map` with the probability of each, in [0, 1].

    Class logits (`ClassLogits`) go through a softmax. Of other scores, the probability of a
    class at a pixel is its share of their sum: a mean of softmaxes sums to 1 and so stays as it is; the scores Y of a
    SegViT are no distribution before. Where every share is 0, the probability is 0.

    Raises:
        VitsegError: A score is NaN or infinite.
    """
    labels = _empty_labels(source)
    confidence = np.empty(labels.shape, dtype=np.float32)
    finite = []
    for start, stop in _strips(source):
        rows = source.rows(start, stop)
        best, index = rows.max(0)
        finite.append(best.isfinite().all())
        labels[start:stop] = index.cpu().numpy()
        confidence[start:stop] = _probability(rows, best, source.distribution).cpu().numpy()
    _require_finite(finite)
    return labels, confidence


def _probability(
    rows: Float[Tensor, "k R W"], best: Float[Tensor, "R W"], distribution: Distribution
) -> Float[Tensor, "R W"]:
    """Probability of the best class of every pixel."""
    if distribution == "softmax":
        return (rows - best).exp().sum(0).reciprocal()  # the best class' own term is 1
    return best / rows.sum(0).clamp_min(torch.finfo(rows.dtype).tiny)


def _strips(source: ScoreMap) -> Iterator[tuple[int, int]]:
    """Half-open row ranges that cover the image, each of about STRIP_ELEMENTS scores."""
    height, width = source.size
    row = source.num_classes * width
    step = max(1, STRIP_ELEMENTS // row, min(source.min_rows, LARGEST_STRIP // row))
    return ((start, min(start + step, height)) for start in range(0, height, step))


def _empty_labels(source: ScoreMap) -> Integer[np.ndarray, "H W"]:
    return np.empty(source.size, dtype=np.uint8 if source.num_classes <= 256 else np.uint16)


def _require_finite(finite: list[Tensor]) -> None:
    """Raise unless the best scores of every strip are finite: NaN wins any comparison and would pass for a label."""
    if not torch.stack(finite).all():  # one wait for the device, rather than one per strip
        raise VitsegError(
            "the model's scores are NaN or infinite, so no class is the best: its weights are damaged, or its "
            "training diverged. Use an earlier checkpoint, or convert the weights again."
        )
