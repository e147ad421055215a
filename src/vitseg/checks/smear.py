"""How far the borders of a mask are smeared: values between those of two regions, where they meet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

SMEARED = 0.15
"""Share of the steps from which a mask counts as smeared.

Of 270 clean masks of six data sets, each has at most 0.014, and 0.047 after resizing to a quarter without blending.
Resized with blending, by any factor from 0.25 to 2, each of a photo has 0.36 or more; saved as JPEG of quality 95 and
read again, the medians of the data sets lie between 0.21 and 0.50.
"""

MIN_STEPS = 50


class Smear(NamedTuple):
    """How many of the places where a mask steps from one value to another pass through values in between.

    Attributes:
        steps: Pixels whose two neighbours, left and right or above and below, differ by 2 or more.
        between: Pixels among these whose value lies strictly between their neighbours' values.
        values: Number of distinct values of such pixels.
    """

    steps: int
    between: int
    values: int

    @property
    def share(self) -> float:
        """Share of the steps that pass through values in between, in [0, 1]; 0 if there are too few steps to tell."""
        return self.between / self.steps if self.steps >= MIN_STEPS else 0.0


def measure_smear(raw_ids: Integer[np.ndarray, "H W"], colors: bool = False) -> Smear:
    """Count the steps of a mask.

    Ids have no order, so a mask that was drawn steps from one to the other at once. Interpolated resizing, and JPEG
    compression, put means of the two between them.

    Args:
        raw_ids: Values of the mask.
        colors: Whether they are colours, 0xRRGGBB; every channel then has to lie between those of the neighbours.
    """
    steps = 0
    found = []
    for mask in (raw_ids, raw_ids.T):
        left, middle, right = mask[:, :-2], mask[:, 1:-1], mask[:, 2:]
        rows, columns = np.nonzero(left != right)
        a, b, c = (part[rows, columns].astype(np.int64) for part in (left, middle, right))
        apart = np.zeros(len(a), bool)
        inside = (b != a) & (b != c)
        for shift in (16, 8, 0) if colors else (None,):
            x, y, z = (v if shift is None else v >> shift & 255 for v in (a, b, c))
            apart |= np.abs(x - z) >= 2
            inside &= (np.minimum(x, z) <= y) & (y <= np.maximum(x, z))
        steps += int(apart.sum())
        found.append(b[apart & inside])
    between = np.concatenate(found)
    return Smear(steps, len(between), len(np.unique(between)))
