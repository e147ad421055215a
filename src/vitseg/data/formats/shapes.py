"""Masks that are drawn: polygons and run lengths, rasterised when they are read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Integer, UInt16

from vitseg.data.formats.rasterise import decode_counts, polygons_to_runs, runs_of
from vitseg.data.mask_pose import EXCHANGED
from vitseg.errors import DataError
from vitseg.images.brush_rle import decode_brush
from vitseg.types import Size

_TRUSTED = 4_000_000
"""Pixels up to which the size that an annotation file gives is believed without a look at the image."""

_CHUNK = 1 << 20  # runs that are painted at a time


class RunLengths(NamedTuple):
    """A binary mask as COCO compresses it: lengths of the runs of a column-wise scan, as text.

    Attributes:
        counts: The lengths, in COCO's own base-32 spelling.
    """

    counts: bytes


class Brush(NamedTuple):
    """A brush stroke as Label Studio compresses it, see `images.brush_rle`."""

    data: bytes


Shape = RunLengths | Brush | Sequence[np.ndarray]
"""Run lengths, a brush stroke, or one or more polygons [x, y, x, y, ...], which together are the shape."""


class ShapeMasks:
    """Shapes of the images of one split, to be painted over each other.

    Of two shapes that overlap, the one with fewer pixels stays visible (a cup on a table, whatever the order of the
    file); of two with equally many, the later one. With `in_order`, it is always the later one. Pixels outside all
    shapes have the raw id `rest`. Polygons are rasterised as by pycocotools, so that labels agree with COCO's own
    masks; what lies outside the image is cut off.

    The shapes are a few flat arrays: about 8 bytes per coordinate, and quick to send to loader processes.

    Args:
        files: The annotation file of every image; one file alone if they share it.
        rest: Raw id of pixels without shape.
        in_order: Whether a later shape lies over an earlier one.
    """

    are_pictures = False

    def __init__(self, files: Sequence[Path], rest: int, in_order: bool = False) -> None:
        self._files = files
        self._in_order = in_order
        self._rest = rest
        self._sizes = array("q")  # height, width of each image; 0, 0 if not known
        self._first_shape = array("q", [0])  # of each image, and the end
        self._raw_ids = array("H")
        self._first_part = array("q", [0])  # of each shape, and the end
        self._part_end = array("q", [0])  # in _coordinates
        self._coordinates = array("d")  # x, y, x, y, ...
        self._runs: dict[int, bytes] = {}  # shape -> run lengths; such shapes have no parts
        self._brushes: dict[int, bytes] = {}  # the same for brush strokes

    def add_image(
        self,
        shapes: Sequence[tuple[int, Shape]],
        size: Size | None,
    ) -> None:
        """Append the next image.

        Args:
            shapes: (raw id, shape) each. Run lengths and brush strokes are for exactly this size; polygons have at
                least three points.
            size: (height, width) in pixels, in which coordinates count. None: the size of the image file, of which
                coordinates are fractions.
        """
        self._sizes.extend(size or (0, 0))
        for raw_id, shape in shapes:
            if isinstance(shape, RunLengths):
                self._runs[len(self._raw_ids)] = shape.counts
            elif isinstance(shape, Brush):
                self._brushes[len(self._raw_ids)] = shape.data
            else:
                for polygon in shape:
                    assert len(polygon) >= 6 and len(polygon) % 2 == 0, len(polygon)
                    self._coordinates.frombytes(np.ascontiguousarray(polygon, np.float64).tobytes())
                    self._part_end.append(len(self._coordinates))
            self._raw_ids.append(raw_id)
            self._first_part.append(len(self._part_end) - 1)
        self._first_shape.append(len(self._raw_ids))

    def read(self, index: int, size: Callable[[], Size]) -> UInt16[np.ndarray, "H W"]:
        """The raw ids of an image, `rest` where there is no shape.

        Raises:
            DataError: The image has not the size that its annotations give, or a polygon is too long to be drawn.
        """
        height, width = self._sizes[2 * index : 2 * index + 2]
        fractions = height == 0
        if fractions:
            height, width = size()
        elif height * width > _TRUSTED:
            self._compare(index, (height, width), size())
        scale = (width, height) if fractions else (1, 1)
        shapes = range(self._first_shape[index], self._first_shape[index + 1])
        runs = [(self._run_lengths(shape, (height, width), scale), shape) for shape in shapes]
        if not self._in_order:  # stable: else file order
            runs.sort(key=lambda pair: -int(pair[0][1::2].sum(dtype=np.int64)))
        columns = np.full(width * height, self._rest, np.uint16)  # column after column
        for lengths, shape in runs:
            _paint(columns, lengths, self._raw_ids[shape])
        return np.ascontiguousarray(columns.reshape(width, height).T)  # (H, W)

    def _compare(self, index: int, given: Size, real: Size) -> None:
        if given != real:
            raise DataError(
                f"{self.files(index)[0]} says that the image has {given[1]}x{given[0]} pixels, but it has "
                f"{real[1]}x{real[0]}: a mask must have the size of its image."
                + (f" {EXCHANGED}" if given == real[::-1] else "")
            )

    def files(self, index: int) -> tuple[Path, ...]:
        """The annotation file of the image."""
        return (self._files[0 if len(self._files) == 1 else index],)

    def in_fractions(self, index: int) -> bool:
        """Whether coordinates are fractions of the image, so that they fit one of any size."""
        return self._sizes[2 * index] == 0

    def own_turn(self, index: int) -> int:
        return 1

    def _run_lengths(
        self, shape: int, size: Size, scale: tuple[int, int]
    ) -> Integer[np.ndarray, " runs"]:
        """One shape as lengths of alternating runs outside and inside, column-wise."""
        if shape in self._runs:
            return decode_counts(self._runs[shape])
        if shape in self._brushes:
            return runs_of(decode_brush(self._brushes[shape], size).T.ravel())
        parts = range(self._first_part[shape], self._first_part[shape + 1])
        polygons = [
            self._polygon(self._part_end[part], self._part_end[part + 1]) * scale for part in parts
        ]
        return polygons_to_runs(polygons, size)

    def _polygon(self, start: int, end: int) -> Float64[np.ndarray, "points 2"]:
        return np.array(self._coordinates[start:end]).reshape(-1, 2)


def _paint(columns: np.ndarray, lengths: np.ndarray, raw_id: int) -> None:
    """Set the pixels of a shape, touching only the columns that it reaches."""
    place = 0
    for low in range(0, len(lengths) // 2 * 2, _CHUNK):  # without the last run if it is outside
        some = lengths[low : min(low + _CHUNK, len(lengths) // 2 * 2)]
        start = place + int(some[0])
        inside = np.repeat(np.arange(1, len(some)) % 2 == 1, some[1:])
        columns[start : start + len(inside)][inside] = raw_id
        place = start + len(inside)
