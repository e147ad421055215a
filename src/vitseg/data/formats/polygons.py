"""What can be said of a polygon before it is drawn: how far it leaves its image, and whether it has an area."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from vitseg.types import Size

FARTHEST = 10
"""Sides of the image by which a polygon may leave it; beyond that, it is no slip of a mouse."""


def excess(points: Float64[np.ndarray, "n 2"], size: Size) -> float:
    """How far a polygon leaves its image, in sides of the image; infinite if a coordinate is no number."""
    if not len(points) or not np.isfinite(points).all():
        return math.inf
    height, width = size
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(max(-left / width, right / width - 1, -top / height, bottom / height - 1, 0))


def is_within_reach(points: Float64[np.ndarray, "n 2"], size: Size) -> bool:
    """Whether all coordinates are numbers that are not too far from the image."""
    return excess(points, size) < FARTHEST


def has_area(points: Float64[np.ndarray, "n 2"]) -> bool:
    """Whether a polygon has three points or more that are not on one line."""
    if len(points) < 3:
        return False
    (x0, y0), (x1, y1), (x2, y2) = points[:3].tolist()
    if abs((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)) > 1e-6:
        return True  # as nearly always
    x, y = (points - points[0]).T
    far = int(np.argmax(np.abs(x) + np.abs(y)))
    reach = abs(x[far]) + abs(y[far])
    return bool((np.abs(x[far] * y - y[far] * x) > 1e-9 * reach * reach).any())
