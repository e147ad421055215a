"""Objects of a label map: connected regions of one class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Objects(NamedTuple):
    """One entry per object, in no particular order.

    Attributes:
        labels: Class index of each object.
        areas: Number of pixels of each object.
    """

    labels: Int64[np.ndarray, " n"]
    areas: Int64[np.ndarray, " n"]


def find_objects(label_map: Integer[np.ndarray, "H W"]) -> Objects:
    """The connected regions, where pixels that touch at a side or a corner are connected.

    Regions of negative labels (ignored or unknown pixels) are no objects.
    """
    height, width = label_map.shape
    starts = np.ones((height, width), bool)
    np.not_equal(label_map[:, 1:], label_map[:, :-1], out=starts[:, 1:])
    run = np.cumsum(starts.ravel(), dtype=np.int32).reshape(height, width) - 1  # number of its run
    first = np.flatnonzero(starts)
    labels = label_map.ravel()[first].astype(np.int64)
    lengths = np.diff(first, append=height * width)
    upper, lower = _touching_runs(label_map, run)
    links = coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(first),) * 2)
    count, region = connected_components(links, directed=False)
    areas = np.bincount(region, lengths, count).astype(np.int64)
    of_region = np.empty(count, np.int64)
    of_region[region] = labels
    return Objects(of_region[of_region >= 0], areas[of_region >= 0])


def _touching_runs(label_map: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs of one label in consecutive rows that share a side or a corner."""
    width = label_map.shape[1]
    upper, lower = [], []
    for shift in (-1, 0, 1):
        above = slice(max(0, -shift), width - max(0, shift))
        below = slice(max(0, shift), width - max(0, -shift))
        a, b = run[:-1, above], run[1:, below]
        same = label_map[:-1, above] == label_map[1:, below]
        # one pair per contact is enough: drop those that the pixel to the left gives already
        same[:, 1:] &= ~(same[:, :-1] & (a[:, 1:] == a[:, :-1]) & (b[:, 1:] == b[:, :-1]))
        upper.append(a[same])
        lower.append(b[same])
    return np.concatenate(upper), np.concatenate(lower)
