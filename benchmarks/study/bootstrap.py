"""Intervals over images: what mIoU would be on other images of the same kind, as far as these can tell.

The images of a split are drawn anew with replacement, 10,000 times and by a fixed seed; each draw has a mIoU, from the
sum of the pixel counts of its images. Of two models the same draws are compared, image by image, so that what is hard
for both does not count; of several seeds the draws' mIoUs are averaged before. The interval holds 95 % of the draws.

Of CamVid's validation split, one drive, neighbouring images show the same street: they are fewer independent ones than
their number, and intervals are too narrow by that. They say nothing of what another training seed would give either:
that is what `least_told` is for. From seed to seed the difference of two of the seven heads after 1,000 iterations
strays by 1.2 points from its mean (standard deviation over all pairs), and by 2.3 at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
SEED = 0
LEVEL = 0.95

ONE_SEED = 0.024
"""Below this difference of two trainings one seed says nothing: two of the standard deviations above."""


def least_told(seeds: int) -> float:
    """The smallest difference that so many seeds tell: that of one, less by the root of their number."""
    return ONE_SEED / math.sqrt(seeds)


@lru_cache(maxsize=4)
def draws(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """How often each image is in each draw, (resamples, images)."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(images, np.full(images, 1 / images), size=resamples)
    return counts.astype(np.float64)


def ious(hits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """IoU of each class; NaN where it is neither labelled nor predicted, and in a draw that it is not labelled in.

    So all models are compared over the same classes in every draw, whatever they predict.

    Args:
        hits: Pixels of every image and class that are hit, labelled and predicted: (n, k, 3).
        weights: How often each image counts, (draws, n); None: each once.

    Returns:
        (k,), or with weights (draws, k).
    """
    n, k, _ = hits.shape
    flat = hits.reshape(n, k * 3).astype(np.float64)
    shape = (k, 3) if weights is None else (len(weights), k, 3)
    sums = (flat.sum(0) if weights is None else weights @ flat).reshape(*shape)
    hit, labelled, predicted = sums[..., 0], sums[..., 1], sums[..., 2]
    union = labelled + predicted - hit
    counts = (union if weights is None else labelled) > 0
    return np.divide(hit, union, out=np.full(hit.shape, np.nan), where=counts)


def mean_iou(values: np.ndarray, classes: Sequence[int] | None = None) -> np.ndarray:
    """Mean of the IoUs of some classes (all where not given) over the last axis, without those that are NaN."""
    chosen = values if classes is None else values[..., list(classes)]
    known = ~np.isnan(chosen)
    total = np.where(known, chosen, 0).sum(-1)
    count = known.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


class Interval(NamedTuple):
    """From where to where."""

    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        return value < self.low or value > self.high


def interval(values: np.ndarray) -> Interval:
    """What holds 95 % of some draws."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


class Measured(NamedTuple):
    """A score of one model: on the images as they are, and on every draw."""

    value: float
    drawn: np.ndarray


class Difference(NamedTuple):
    """How far one row is ahead of another.

    Attributes:
        mean: Over the seeds that both have.
        interval: Over images.
        by_seed: Of each seed.
        is_within: Whether both are of the same training, so that no seed stands between them: one model run in two
            ways, or at two times.
    """

    mean: float
    interval: Interval
    by_seed: tuple[float, ...]
    is_within: bool = False

    def beside(self, bound: float) -> Difference:
        """How far it is above a bound."""
        low, high = (end - bound for end in self.interval)
        by_seed = tuple(value - bound for value in self.by_seed)
        return self._replace(mean=self.mean - bound, interval=Interval(low, high), by_seed=by_seed)

    @property
    def in_general(self) -> Difference:
        """The same as a statement of trainings like these: one training alone says more of itself than of the next."""
        return self._replace(is_within=self.is_within and len(self.by_seed) > 1)

    @property
    def unlike(self) -> str:
        """Why it cannot be told which is ahead; empty: it can."""
        if not self.interval.excludes(0):
            return "the interval has 0 in it"
        if self.mean * self.interval.low <= 0:
            return "the interval is on the other side of 0"
        if len({np.sign(value) for value in self.by_seed}) > 1:
            return "seeds disagree"
        seeds = len(self.by_seed)
        if self.is_within or abs(self.mean) >= least_told(seeds):
            return ""
        return f"{'one seed' if seeds == 1 else f'{seeds} seeds'}, below {100 * least_told(seeds):.1f} points"

    @property
    def can_be_told(self) -> bool:
        return not self.unlike


def difference(
    one: Sequence[Measured], other: Sequence[Measured], is_within: bool = False
) -> Difference:
    """Of two rows, seed by seed in the same order; `is_within` as in `Difference`."""
    assert len(one) == len(other) > 0
    by_seed = tuple(a.value - b.value for a, b in zip(one, other, strict=True))
    drawn = np.mean([a.drawn - b.drawn for a, b in zip(one, other, strict=True)], axis=0)
    return Difference(float(np.mean(by_seed)), interval(drawn), by_seed, is_within)
