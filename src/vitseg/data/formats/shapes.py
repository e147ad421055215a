"""Masks that are drawn: polygons and run lengths, rasterised when they are read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt16
from pycocotools import mask as rle_tools

from vitseg.types import Size


class RunLengths(NamedTuple):
    """A binary mask as COCO compresses it: lengths of the runs of a column-wise scan, as text.

    Attributes:
        counts: The lengths, in COCO's own base-32 spelling.
    """

    counts: bytes


class ShapeMasks:
    """Shapes of the images of one split, to be painted over each other.

    Of two shapes that overlap, the one with fewer pixels stays visible (a cup on a table, whatever the order of the
    file); of two with equally many, the later one. Pixels outside all shapes have the raw id `rest`. Polygons are
    rasterised by pycocotools, so that labels agree with COCO's own masks; what lies outside the image is cut off.

    The shapes are a few flat arrays: about 8 bytes per coordinate, and quick to send to loader processes.

    Args:
        files: The annotation file of every image; one file alone if they share it.
        rest: Raw id of pixels without shape.
    """

    def __init__(self, files: Sequence[Path], rest: int) -> None:
        self._files = files
        self._rest = rest
        self._sizes = array("q")  # height, width of each image; 0, 0 if not known
        self._first_shape = array("q", [0])  # of each image, and the end
        self._raw_ids = array("H")
        self._first_part = array("q", [0])  # of each shape, and the end
        self._part_end = array("q", [0])  # in _coordinates
        self._coordinates = array("d")  # x, y, x, y, ...
        self._runs: dict[int, bytes] = {}  # shape -> run lengths; such shapes have no parts

    def add_image(
        self,
        shapes: Sequence[tuple[int, RunLengths | Sequence[np.ndarray]]],
        size: Size | None,
    ) -> None:
        """Append the next image.

        Args:
            shapes: (raw id, shape) each. A shape is run lengths for exactly this size, or one or more polygons
                [x, y, x, y, ...] of at least three points, which together are the shape.
            size: (height, width) in pixels, in which coordinates count. None: the size of the image file, of which
                coordinates are fractions.
        """
        self._sizes.extend(size or (0, 0))
        for raw_id, shape in shapes:
            if isinstance(shape, RunLengths):
                self._runs[len(self._raw_ids)] = shape.counts
            else:
                for polygon in shape:
                    assert len(polygon) >= 6 and len(polygon) % 2 == 0, len(polygon)
                    self._coordinates.frombytes(np.ascontiguousarray(polygon, np.float64).tobytes())
                    self._part_end.append(len(self._coordinates))
            self._raw_ids.append(raw_id)
            self._first_part.append(len(self._part_end) - 1)
        self._first_shape.append(len(self._raw_ids))

    def read(self, index: int, size: Callable[[], Size]) -> UInt16[np.ndarray, "H W"]:
        """The raw ids of an image: larger shapes first, `rest` where there is none."""
        height, width = self._sizes[2 * index : 2 * index + 2]
        fractions = height == 0
        if fractions:
            height, width = size()
        scale = (width, height) if fractions else (1, 1)
        shapes = range(self._first_shape[index], self._first_shape[index + 1])
        runs = [(self._run_lengths(shape, (height, width), scale), shape) for shape in shapes]
        runs.sort(key=lambda pair: -int(pair[0][1::2].sum()))  # stable: file order among equals
        columns = np.full(width * height, self._rest, np.uint16)  # column after column
        for lengths, shape in runs:
            _paint(columns, lengths, self._raw_ids[shape])
        return np.ascontiguousarray(columns.reshape(width, height).T)  # (H, W)

    def files(self, index: int) -> tuple[Path, ...]:
        """The annotation file of the image."""
        return (self._files[0 if len(self._files) == 1 else index],)

    def _run_lengths(
        self, shape: int, size: Size, scale: tuple[int, int]
    ) -> Int64[np.ndarray, " runs"]:
        """One shape as lengths of alternating runs outside and inside, column-wise."""
        if shape in self._runs:
            return decode_counts(self._runs[shape])
        parts = range(self._first_part[shape], self._first_part[shape + 1])
        polygons = [
            self._polygon(self._part_end[part], self._part_end[part + 1]) * scale for part in parts
        ]
        flat: Any = [polygon.ravel() for polygon in polygons]
        return decode_counts(rle_tools.merge(rle_tools.frPyObjects(flat, *size))["counts"])

    def _polygon(self, start: int, end: int) -> Float64[np.ndarray, "points 2"]:
        return np.array(self._coordinates[start:end]).reshape(-1, 2)


def _paint(columns: np.ndarray, lengths: np.ndarray, raw_id: int) -> None:
    """Set the pixels of a shape, touching only the columns that it reaches."""
    if len(lengths) < 2:
        return
    lengths = lengths[: len(lengths) // 2 * 2]  # without the last run if it is outside
    start = lengths[0]
    inside = np.repeat(np.arange(1, len(lengths)) % 2 == 1, lengths[1:])
    columns[start : start + len(inside)][inside] = raw_id


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
