"""Hatching for classes whose colours look alike, so that they can be told apart in a picture."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Integer

from vitseg.classes import ClassTable, Color
from vitseg.colors import distances

ALIKE = 10.0
"""Distance in CAM02-UCS below which two colours, half transparent over a photo, are not told apart."""

DARK, BRIGHT = (0, 0, 0), (255, 255, 255)

_DIRECTIONS = ((1, 1), (1, -1), (1, 0), (0, 1))
"""Steps per row and column across the stripes: falling, rising, level and upright ones, then pairs of them."""

_PATTERNS = [(first,) for first in _DIRECTIONS] + [
    (first, second)
    for number, first in enumerate(_DIRECTIONS)
    for second in _DIRECTIONS[number + 1 :]
]


def hatchings(present: Integer[np.ndarray, " n"], classes: ClassTable) -> dict[int, int]:
    """The pattern of each class of a picture that looks like another one in it; 0 is plain.

    A class has the same pattern in every picture in which it is hatched at all. Where more classes look alike than
    there are patterns, the last ones share them.

    Args:
        present: Indices of the classes that occur; others, as that of ignored pixels, are left out.
        classes: Names and colours.
    """
    alike, patterns = _patterns(classes.palette)
    indices = present[(present >= 0) & (present < classes.num_classes)]
    confused = alike[np.ix_(indices, indices)].any(axis=1)
    return {int(index): patterns[index] for index in indices[confused] if patterns[index]}


def has_alike(classes: ClassTable) -> bool:
    """Whether any two classes of a table look alike; where none do, no picture needs to be counted."""
    return any(_patterns(classes.palette)[1])


def stripes(
    shape: tuple[int, int], pattern: int, period: int, origin: tuple[int, int] = (0, 0)
) -> Bool[np.ndarray, "h w"]:
    """Where the lines of a pattern run.

    Args:
        shape: (height, width) in pixels.
        pattern: 1 or more.
        period: Pixels from line to line.
        origin: Row and column of the first pixel, so that parts of a picture fit together.
    """
    rows = np.arange(shape[0])[:, None] + origin[0]
    columns = np.arange(shape[1])[None] + origin[1]
    lines = np.zeros(shape, dtype=bool)
    for down, right in _PATTERNS[(pattern - 1) % len(_PATTERNS)]:
        lines |= (down * rows + right * columns) % period < max(1, period // 4)
    return lines


def period_of(shape: tuple[int, int]) -> int:
    """Pixels from line to line that suit a picture of a size."""
    return max(6, round(math.sqrt(shape[0] * shape[1]) / 50))


def line_color(color: Color) -> Color:
    """Dark on bright colours, bright on dark ones."""
    red, green, blue = color
    return DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else BRIGHT


@lru_cache(maxsize=16)
def _patterns(palette: tuple[Color, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Which classes look alike, and the first pattern of each that no earlier one that looks like it has."""
    alike = distances(np.array(palette)) < ALIKE
    np.fill_diagonal(alike, False)
    patterns: list[int] = []
    for index in range(len(palette)):
        taken = {patterns[other] for other in np.flatnonzero(alike[index, :index])}
        free = (pattern for pattern in range(len(_PATTERNS) + 1) if pattern not in taken)
        patterns.append(next(free, 1 + index % len(_PATTERNS)))
    return alike, tuple(patterns)
