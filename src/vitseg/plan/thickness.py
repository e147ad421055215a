"""How wide the things of a class are, from their area and their outline: no distance is transformed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

_SLANT = 4 / np.pi
"""Edges between pixels along a slanted line over its length, in the mean over all directions."""


class Outlines(NamedTuple):
    """Counts by class.

    Attributes:
        area: Pixels.
        edges: Edges of pixels that lie between the class and anything else; the border of the image is none.
    """

    area: Int64[np.ndarray, " k"]
    edges: Int64[np.ndarray, " k"]


def measure_outlines(label_map: Integer[np.ndarray, "H W"], num_classes: int) -> Outlines:
    """Area and outline of every class in one mask.

    Args:
        label_map: Class of every pixel; below 0: none.
        num_classes: Classes.
    """
    edges = np.zeros(num_classes, np.int64)
    for one, other in ((label_map[1:], label_map[:-1]), (label_map[:, 1:], label_map[:, :-1])):
        differ = one != other
        for side in (one[differ], other[differ]):
            edges += np.bincount(side[side >= 0], minlength=num_classes)
    area = np.bincount(label_map[label_map >= 0].ravel(), minlength=num_classes)
    return Outlines(area, edges)


def width(area: float, edges: float) -> float | None:
    """Mean width in pixels: a strip has two edges per pixel of its length. None: the class has no outline.

    A class that fills its images counts as wide, a group of thin poles as thin as one of them.

    Args:
        area: Pixels.
        edges: Edges of pixels along the outline.
    """
    return None if not edges else _SLANT * 2 * area / edges
