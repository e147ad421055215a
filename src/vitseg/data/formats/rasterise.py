"""Polygons to the runs of a column-wise scan, within bounds of time and memory that are known before the work.

pycocotools walks the whole outline in steps of a fifth of a pixel and keeps every step: a hundred thousand points to
and fro across an image, or an image of 150,000,000 x 1 pixels, then take gigabytes or overflow its counters, which ends
the process. Outlines of ordinary length go through it; longer ones through the same rule here, crossing by crossing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, UInt8
from pycocotools import mask as rle_tools

from vitseg.errors import DataError
from vitseg.types import Size

MAX_STEPS = 2_000_000
"""Steps of an outline up to which pycocotools draws it: some 30 MB."""

MAX_CROSSINGS = 200_000_000
"""Crossings of an outline with the columns of its image up to which it is drawn: about twenty seconds."""

_SCALE = 5  # steps per pixel, as in pycocotools
_CHUNK = 1 << 20  # crossings that are held at a time


def polygons_to_runs(
    polygons: Sequence[Float64[np.ndarray, "_ 2"]], size: Size
) -> Integer[np.ndarray, " runs"]:
    """The union of polygons as lengths of alternating runs outside and inside, column after column.

    A polygon that crosses itself is inside where it is crossed an odd number of times. What lies outside the image is
    cut off. The pixels are those of pycocotools.

    Args:
        polygons: (x, y) of the corners in pixels.
        size: (height, width) of the image.

    Raises:
        DataError: The outlines cross the columns of the image more than `MAX_CROSSINGS` times.
    """
    steps = sum(len(polygon) for polygon in polygons) * 2 * _SCALE
    reach = max(float(np.abs(polygon).max()) for polygon in polygons)
    if steps * reach <= MAX_STEPS or sum(map(_steps, polygons)) <= MAX_STEPS:
        flat: Any = [polygon.ravel() for polygon in polygons]
        return decode_counts(rle_tools.merge(rle_tools.frPyObjects(flat, *size))["counts"])
    crossings = sum(_Edges(polygon, size[1]).num_crossings for polygon in polygons)
    if crossings > MAX_CROSSINGS:
        corners = sum(len(polygon) for polygon in polygons)
        raise DataError(
            f"a polygon of {corners:,} points crosses the columns of its image of {size[1]}x{size[0]} pixels "
            f"{crossings:,} times, but at most {MAX_CROSSINGS:,} are drawn. Is it damaged? Simplify or remove it."
        )
    inside = _fill(polygons[0], size)
    for polygon in polygons[1:]:
        inside |= _fill(polygon, size)
    return runs_of(inside)


def decode_counts(text: str | bytes) -> Int64[np.ndarray, " runs"]:
    """The run lengths in COCO's compressed spelling, which pycocotools itself does not check.

    Every character carries five bits, lowest first; 32 marks that the number goes on, 16 in its last character that
    it is negative. From the fourth number on, each is the difference to the one two before.

    Raises:
        ValueError: It ends within a number, has a character outside the alphabet, or a length is negative.
    """
    data = text.encode("ascii") if isinstance(text, str) else text
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        raise ValueError("counts is empty or has a character outside its alphabet")
    last = np.flatnonzero(codes < 32)
    if not len(last) or last[-1] != len(codes) - 1:
        raise ValueError("counts ends within a number")
    first = np.concatenate(([0], last[:-1] + 1))
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    if shifts.max() > 30:
        raise ValueError("counts has a number beyond 32 bits")
    numbers = np.add.reduceat((codes & 31) << shifts, first)
    numbers -= np.where(codes[last] & 16, 1 << (shifts[last] + 5), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if numbers.min() < 0:
        raise ValueError("counts has a negative length")
    return numbers


def _steps(polygon: Float64[np.ndarray, "points 2"]) -> float:
    """Steps in which pycocotools walks around a polygon."""
    sides = np.abs(polygon - np.roll(polygon, -1, axis=0)).max(axis=1)
    return float(sides.sum()) * _SCALE + 2 * len(polygon)


class _Edges:
    """The edges of a polygon on the fine grid, each from its lower end to its higher one along its longer axis."""

    def __init__(self, polygon: Float64[np.ndarray, "points 2"], width: int) -> None:
        corners = np.trunc(_SCALE * polygon + 0.5).astype(np.int64)
        start, end = corners, np.roll(corners, -1, axis=0)
        dx, dy = np.abs(end - start).T
        self.flat = dx >= dy  # walked column by column; the others row by row
        swap = np.where(self.flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
        self.start = np.where(swap[:, None], end, start)
        self.end = np.where(swap[:, None], start, end)
        rise = self.end - self.start
        with np.errstate(divide="ignore", invalid="ignore"):
            self.slope = np.where(self.flat, rise[:, 1] / rise[:, 0], rise[:, 0] / rise[:, 1])
        left, right = np.sort(np.stack([start[:, 0], end[:, 0]]), axis=0)
        # A column x is crossed between the fine columns 5x + 2 and 5x + 3.
        self.first = np.maximum(-((2 - left) // _SCALE), 0)
        last = np.minimum((right - 3) // _SCALE, width - 1)
        self.counts = np.maximum(last - self.first + 1, 0)

    @property
    def num_crossings(self) -> int:
        return int(self.counts.sum())

    def crossings(self) -> Iterator[tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]]:
        """Columns that are crossed, and the fine rows at which they are, up to `_CHUNK` at a time."""
        for flat in (True, False):
            edges = np.flatnonzero((self.flat == flat) & (self.counts > 0))
            ends = np.cumsum(self.counts[edges])
            starts = ends - self.counts[edges]
            for low in range(0, int(ends[-1]) if len(ends) else 0, _CHUNK):
                high = min(low + _CHUNK, int(ends[-1]))
                some = slice(np.searchsorted(ends, low, "right"), np.searchsorted(starts, high))
                here = np.minimum(ends[some], high) - np.maximum(starts[some], low)
                edge = edges[some]
                column = np.arange(low, high) + np.repeat(self.first[edge] - starts[some], here)
                row = self._row_of_flat if flat else self._row_of_steep
                yield column, row(edge, here, column)

    def _row_of_flat(
        self,
        edge: Int64[np.ndarray, " e"],
        counts: Int64[np.ndarray, " e"],
        column: Int64[np.ndarray, " n"],
    ) -> Int64[np.ndarray, " n"]:
        """The smaller row of the two steps on either side of the crossing."""
        step = _SCALE * column + 2 - np.repeat(self.start[edge, 0], counts)
        # a point has no slope, and no crossing either
        slope, start = np.repeat(self.slope[edge], counts), np.repeat(self.start[edge, 1], counts)
        low = (start + slope * step + 0.5).astype(np.int64)
        return np.minimum(low, (start + slope * (step + 1) + 0.5).astype(np.int64))

    def _row_of_steep(
        self,
        edge: Int64[np.ndarray, " e"],
        counts: Int64[np.ndarray, " e"],
        column: Int64[np.ndarray, " n"],
    ) -> Int64[np.ndarray, " n"]:
        """The row of the last step before the crossing."""
        slope, start = np.repeat(self.slope[edge], counts), np.repeat(self.start[edge, 0], counts)
        border = _SCALE * column + 2.5

        def is_left(step: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
            return (start + slope * step + 0.5).astype(np.int64) < border

        step = np.round((border - start) / slope).astype(np.int64) - 2
        before = is_left(step)
        for _ in range(
            4
        ):  # rounding may be off by a step: go on while the next is on the same side
            step += is_left(step + 1) == before
        return np.repeat(self.start[edge, 1], counts) + step


def _fill(polygon: Float64[np.ndarray, "points 2"], size: Size) -> Bool[np.ndarray, " pixels"]:
    """The pixels inside a polygon, column after column."""
    height, width = size
    changes: UInt8[np.ndarray, " ends"] = np.zeros(height * width + 1, np.uint8)
    for column, row in _Edges(polygon, width).crossings():
        below = np.clip((row + 2) // _SCALE, 0, height)  # the first pixel whose centre is below
        place = column * height + below
        if len(changes) <= 4 * _CHUNK:
            changes ^= (np.bincount(place, minlength=len(changes)) & 1).astype(np.uint8)
            continue
        place.sort()
        first = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
        odd = np.diff(np.append(first, len(place))) % 2 == 1
        changes[place[first[odd]]] ^= 1
    np.bitwise_xor.accumulate(changes, out=changes)
    return changes[:-1].view(bool)


def runs_of(inside: Bool[np.ndarray, " pixels"]) -> Integer[np.ndarray, " runs"]:
    """Lengths of alternating runs outside and inside; of very many, as 32-bit numbers, to save memory."""
    borders = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    kind = np.uint32 if len(borders) > _CHUNK else np.int64
    lengths = np.diff(borders, prepend=0, append=len(inside)).astype(kind, copy=False)
    return np.concatenate((np.zeros(1, kind), lengths)) if inside[0] else lengths
