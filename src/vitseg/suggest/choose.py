"""Choosing images that are uncertain and unlike each other, from what is known of each.

Greedily, the next image is the one of the largest product of its uncertainty and its distance to the nearest image that
is there already: farthest-point traversal, which is within a factor 2 of the best k-center (Gonzalez 1985), weighted so
that what the model knows is passed over. The distance is that between features of length 1, the chord of their angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from vitseg.checks.duplicates import MAX_BITS, MAX_DISTANCE, num_bits, thumbnail_distance
from vitseg.checks.fingerprint import THUMBNAIL, Fingerprint
from vitseg.suggest.look import Look

SAME = 1e-3
"""Distance of features below which two images are the same to the model, whatever their pixels are."""

FARTHEST = 2.0
"""Distance of the first image where none is there already: that of opposite features."""


@dataclass(frozen=True)
class Choice:
    """An image that was chosen.

    Attributes:
        index: Its place among the images.
        distance: To the nearest image that was there before it, in [0, 2]; None of the first.
        score: Its uncertainty times that distance; of the first, times the largest there can be.
    """

    index: int
    distance: float | None
    score: float


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and what could not be.

    Attributes:
        choices: The images, in the order in which they were chosen.
        num_copies: Images that are copies or near duplicates of one that was there before them.
    """

    choices: tuple[Choice, ...]
    num_copies: int


def choose(looks: Sequence[Look], count: int, labelled: Sequence[Look] = ()) -> Chosen:
    """Choose images; of equal ones the first.

    No two of them are copies or near duplicates of each other or of a labelled image, so that there may be fewer than
    were asked for.

    Args:
        looks: The images to choose from.
        count: How many are wanted, at least 1.
        labelled: Images that have labels.
    """
    pool = _Pool(looks)
    for look in labelled:
        pool.cover(look)
    choices: list[Choice] = []
    while len(choices) < count and pool.free.any():
        scores = np.where(pool.free, pool.uncertainty * pool.distance, -1.0)
        index = int(scores.argmax())
        is_first = not choices and not labelled
        distance = None if is_first else float(pool.distance[index])
        choices.append(Choice(index, distance, float(scores[index])))
        pool.take(index)
    return Chosen(tuple(choices), pool.num_copies)


class _Pool:
    """The images that may still be chosen, and how far each is from what is there.

    Attributes:
        free: Which may be chosen.
        num_copies: How many may not, since they are like one that is there.
    """

    def __init__(self, looks: Sequence[Look]):
        self._looks = looks
        self._features = np.stack([look.feature for look in looks]).astype(np.float64)  # (n, c)
        self._prints = _Prints([look.fingerprint for look in looks])
        self.uncertainty: Float64[np.ndarray, " n"] = np.array([each.uncertainty for each in looks])
        self.distance: Float64[np.ndarray, " n"] = np.full(len(looks), FARTHEST)
        self.free: Bool[np.ndarray, " n"] = np.ones(len(looks), bool)
        self.num_copies = 0

    def take(self, index: int) -> None:
        """Choose an image."""
        self.free[index] = False
        self.cover(self._looks[index])

    def cover(self, look: Look) -> None:
        """Have an image that others are compared with."""
        cosine = self._features @ look.feature.astype(np.float64)
        distance = np.sqrt(np.maximum(0, 2 - 2 * cosine))
        np.minimum(self.distance, distance, out=self.distance)
        copies = self.free & (self._prints.alike(look.fingerprint) | (distance < SAME))
        self.num_copies += int(copies.sum())
        self.free &= ~copies


class _Prints:
    """The fingerprints of many images."""

    def __init__(self, prints: Sequence[Fingerprint]):
        self._content = np.array([each.content for each in prints], np.uint64)
        self._hashes = np.array([each.perceptual for each in prints], np.uint64)
        self._has_thumbnail = np.array([bool(each.thumbnail) for each in prints])
        self._thumbnails = np.stack([_row(each) for each in prints])

    def alike(self, other: Fingerprint) -> Bool[np.ndarray, " n"]:
        """Which of them are copies or near duplicates of an image, as `vitseg data check` has it."""
        alike = self._content == np.uint64(other.content)
        if not other.thumbnail:
            return alike
        changed = self._hashes ^ np.uint64(other.perceptual)
        near = np.flatnonzero(self._has_thumbnail & (num_bits(changed) <= MAX_BITS))
        rows = np.concatenate([_row(other)[None], self._thumbnails[near]])
        first = np.zeros(len(near), np.int64)
        far = thumbnail_distance(rows, first, np.arange(1, len(rows)))
        alike[near[far <= MAX_DISTANCE]] = True
        return alike


def _row(print_: Fingerprint) -> np.ndarray:
    """The thumbnail as `thumbnail_distance` takes it: behind a byte that says whether there is one."""
    values = print_.thumbnail or bytes(THUMBNAIL**2)
    return np.frombuffer(bytes([bool(print_.thumbnail)]) + values, np.uint8)
