"""Class scores at pixel size, all at once or in row strips.

A full-resolution score map has num_classes floats per pixel: 7 GB for a 4000 x 3000 photo with 150 classes. So scores
are a source that hands out rows on demand, and labels are taken strip by strip; the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from vitseg.errors import VitsegError
from vitseg.layers.resize import HeldRows, blend_rows, needed_rows, resize_map
from vitseg.outputs import Distribution, SegOutput
from vitseg.types import Size

STRIP_ELEMENTS = 1_500_000
"""Scores (classes x pixels) per strip: 6 MB in float32. Smaller strips upsample more rows than they give, larger ones
leave the processor's cache: `benchmarks/fused_labels.py`."""

BAND_ELEMENTS = 4_000_000
"""Scores per band of a source that is read in bands: 16 MB. What is larger than 32 MB goes back to the system when it
is given up, and every page of it is fetched anew for the next one, which takes longer than the arithmetic."""


@runtime_checkable
class ScoreMap(Protocol):
    """Class scores of one image, row by row.

    Attributes:
        size: (height, width) in pixels.
        num_classes: Classes.
        distribution: How the scores of a pixel become probabilities.
    """

    size: Size
    num_classes: int
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
        self.distribution: Distribution = output.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.output.scores((start, stop))[0]


class TensorScores:
    """Scores that are already there, as of an averaged sliding window."""

    def __init__(self, scores: Float[Tensor, "k H W"], distribution: Distribution = "share"):
        self.scores = scores
        self.size = (scores.shape[1], scores.shape[2])
        self.num_classes = scores.shape[0]
        self.distribution: Distribution = distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.scores[:, start:stop]


class MirroredScores:
    """Scores of a mirrored image, mirrored back."""

    def __init__(self, source: ScoreMap):
        self.source = source
        self.size = source.size
        self.num_classes = source.num_classes
        self.distribution: Distribution = source.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.source.rows(start, stop).flip(2)


class BandedScores:
    """Scores of a source that are computed a band of rows at a time, whatever strips are asked for.

    The last band is kept. Asked from top to bottom, as labels are taken, every row is computed once, although
    neighbouring strips may overlap. The classes of a pixel lie side by side.
    """

    def __init__(self, source: ScoreMap):
        self.source = source
        self.size = source.size
        self.num_classes = source.num_classes
        self.distribution: Distribution = source.distribution
        self._top = 0
        self._num_rows = 0
        self._band: Float[Tensor, "n W k"] | None = None  # of which `_num_rows` rows are scores

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self.borrow(start, stop).clone().permute(2, 0, 1)

    def borrow(self, start: int, stop: int) -> Float[Tensor, "R W k"]:
        """The rows [start, stop), which are overwritten when others are asked for."""
        bottom = self._top + self._num_rows
        if not self._top <= start <= bottom:
            self._top, self._num_rows, bottom = start, 0, start
        if stop > bottom:
            self._extend(start, stop, bottom)
        assert self._band is not None
        return self._band[start - self._top : stop - self._top]

    def _extend(self, start: int, stop: int, bottom: int) -> None:
        """Give up the rows above `start`, and have more from `bottom` on, those before `stop` at least."""
        height, width = self.size
        end = min(height, max(stop, start + BAND_ELEMENTS // (self.num_classes * width)))
        rows = self.source.rows(bottom, end).detach().permute(1, 2, 0)  # (R, W, k)
        kept = None
        if self._band is not None and bottom > start:
            kept = self._band[start - self._top : bottom - self._top]
        # One piece of memory for all bands: a new one for each would lie between those that are used in passing, and
        # keep them from being used again for others.
        if self._band is None or len(self._band) < end - start:
            with torch.inference_mode(False):
                band = rows.new_empty(end - start, width, self.num_classes)
        else:
            band, kept = self._band, None if kept is None else kept.clone()
        if kept is not None:
            band[: bottom - start] = kept
        band[bottom - start : end - start] = rows
        self._band, self._top, self._num_rows = band, start, end - start


class ResizedScores:
    """Scores resized bilinearly (align_corners=False) to another size, rows on demand."""

    def __init__(self, source: ScoreMap, size: Size):
        self.source = BandedScores(source)
        self.size = size
        self.num_classes = source.num_classes
        self.distribution: Distribution = source.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        height, width = self.source.size
        # Rows of an image that was run far larger than it is take many of the source's.
        step = max(1, BAND_ELEMENTS // (self.num_classes * width) * self.size[0] // height)
        if stop - start <= step:
            return self._few_rows(start, stop)
        parts = [self._few_rows(top, min(top + step, stop)) for top in range(start, stop, step)]
        return torch.cat([part.permute(1, 2, 0) for part in parts]).permute(2, 0, 1)

    def _few_rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        height = self.source.size[0]
        first, last = needed_rows(height, self.size[0], start, stop)
        band = self.source.borrow(first, last)[None]  # (1, rows, w, k)
        rows = blend_rows(band, HeldRows(first, height), self.size[0], start, stop)
        return resize_map(rows.permute(0, 3, 1, 2), (stop - start, self.size[1]))[0]


class MeanScores:
    """The mean of the softmaxes of several views, row by row, by which the papers take labels.

    The softmax of scores that are no logits, as SegViT's in [0, 1], is nearly flat and says nothing of how sure a model
    is. So the probabilities are the mean of those that each view gives by its own distribution.

    Args:
        views: Scores of every view, of one size.
        kept: Classes that are left, of which the rows are; None: all.
    """

    distribution: Distribution = "share"

    def __init__(self, views: Sequence[ScoreMap], kept: Integer[Tensor, " n"] | None = None):
        self.views = views
        self.size = views[0].size
        self.num_classes = views[0].num_classes if kept is None else len(kept)
        self._kept = kept

    def of_classes(self, kept: Integer[Tensor, " n"]) -> MeanScores:
        """The same of some classes, in that order; their scores stay as they are."""
        return MeanScores(self.views, kept if self._kept is None else self._kept[kept])

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        return self._mean(_softmax(view.rows(start, stop)) for view in self.views)

    def rows_and_shares(
        self, start: int, stop: int
    ) -> tuple[Float[Tensor, "k R W"], Float[Tensor, "k R W"]]:
        """The rows, and the mean of the views' probabilities; 0 in a view where every share is 0."""
        if all(view.distribution == "softmax" for view in self.views):
            rows = self.rows(start, stop)
            return rows, rows
        views = [view.rows(start, stop) for view in self.views]
        shares = self._mean(
            _shares(rows, view.distribution) for rows, view in zip(views, self.views, strict=True)
        )
        return self._mean(map(_softmax, views)), shares

    def _mean(self, parts: Iterable[Float[Tensor, "k R W"]]) -> Float[Tensor, "k R W"]:
        total: Tensor | None = None
        for part in parts:  # each of which is new, and may be changed
            total = part if total is None else total.add_(part)
        assert total is not None
        mean = total.div_(len(self.views))
        return mean if self._kept is None else mean[self._kept.to(mean.device)]


def _shares(rows: Float[Tensor, "k R W"], distribution: Distribution) -> Float[Tensor, "k R W"]:
    """The probabilities of all classes; 0 where every share is 0."""
    if distribution == "softmax":
        return _softmax(rows)
    return rows / rows.sum(0).clamp_min(torch.finfo(rows.dtype).tiny)


def _rows_and_evidence(
    source: ScoreMap, start: int, stop: int
) -> tuple[Float[Tensor, "k R W"], Float[Tensor, "k R W"]]:
    """Rows by which labels are taken, and those that the source's distribution makes probabilities of."""
    if isinstance(source, MeanScores):
        return source.rows_and_shares(start, stop)
    rows = source.rows(start, stop)
    return rows, rows


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
    finite = _Finite()
    for start, stop in _strips(source):
        best, index = source.rows(start, stop).max(0)
        finite.note(best)
        labels[start:stop] = index.cpu().numpy()
    finite.require()
    return labels


def labels_and_confidence(
    source: ScoreMap,
) -> tuple[Integer[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """The labels of `label_map` with the probability of each, in [0, 1].

    Class logits (`ClassLogits`) go through a softmax. Of other scores, the probability of a class at a pixel is its
    share of their sum; the scores Y of a SegViT are no distribution before. Of several views it is the mean of the
    views' probabilities (`MeanScores`). Where every share is 0, the probability is 0.

    Raises:
        VitsegError: A score is NaN or infinite.
    """
    labels = _empty_labels(source)
    confidence = np.empty(labels.shape, dtype=np.float32)
    finite = _Finite()
    for start, stop in _strips(source):
        rows, evidence = _rows_and_evidence(source, start, stop)
        best, index = rows.max(0)
        finite.note(best)
        labels[start:stop] = index.cpu().numpy()
        if evidence is not rows:
            best = evidence.gather(0, index[None])[0]
        confidence[start:stop] = _probability(evidence, best, source.distribution).cpu().numpy()
    finite.require()
    return labels, confidence


def probabilities(source: ScoreMap) -> Iterator[Float[Tensor, "k R W"]]:
    """The probabilities of all classes, strip by strip from the top; see `labels_and_confidence`.

    Where every share is 0, all classes are as probable as each other.

    Raises:
        VitsegError: A score is NaN or infinite; told behind the last strip.
    """
    finite = _Finite()
    for start, stop in _strips(source):
        ranked, rows = _rows_and_evidence(source, start, stop)
        finite.note(ranked.amax(0))
        if source.distribution == "softmax":
            yield _softmax(rows)
        else:
            total = rows.sum(0)
            yield torch.where(
                total > 0,
                rows / total.clamp_min(torch.finfo(rows.dtype).tiny),
                1 / source.num_classes,
            )
    finite.require()


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
    step = max(1, STRIP_ELEMENTS // (source.num_classes * width))
    return ((start, min(start + step, height)) for start in range(0, height, step))


def _empty_labels(source: ScoreMap) -> Integer[np.ndarray, "H W"]:
    return np.empty(source.size, dtype=np.uint8 if source.num_classes <= 256 else np.uint16)


class _Finite:
    """Whether the best scores of every strip are finite: NaN wins any comparison and would pass for a label."""

    def __init__(self):
        self._all: Tensor | None = None

    def note(self, best: Float[Tensor, "R W"]) -> None:
        # One number for all strips: one wait for the device at the end. A number for each would lie between the large
        # blocks of memory that a strip gives back, and keep them from being used for the next.
        lowest = best.isfinite().all()
        self._all = lowest if self._all is None else self._all.logical_and_(lowest)

    def require(self) -> None:
        """Raise unless they are."""
        if self._all is not None and not self._all:
            raise VitsegError(
                "the model's scores are NaN or infinite, so no class is the best: its weights are damaged, or its "
                "training diverged. Use an earlier checkpoint, or convert the weights again."
            )
