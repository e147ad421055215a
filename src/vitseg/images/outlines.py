"""Outlines of regions of a label map along the borders of pixels, so that drawing them gives the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer
from scipy import ndimage

_SIDES = ndimage.generate_binary_structure(2, 1)
_CORNERS = ndimage.generate_binary_structure(2, 2)

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # (down, to the right) when going right, down, left, up


class Piece(NamedTuple):
    """Pixels of one class that hang together by their sides.

    Attributes:
        index: The class.
        top: First row of its box.
        left: First column.
        inside: Which pixels of the box it has.
    """

    index: int
    top: int
    left: int
    inside: Bool[np.ndarray, "h w"]


def pieces(label_map: Integer[np.ndarray, "H W"]) -> Iterator[Piece]:
    """The pieces of every class that occurs, class by class, from the top."""
    for index in np.unique(label_map).tolist():
        numbers = np.zeros(label_map.shape, np.int32)
        ndimage.label(label_map == index, _SIDES, numbers)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            yield Piece(index, box[0].start, box[1].start, numbers[box] == number)


def largest_first(label_map: Integer[np.ndarray, "H W"]) -> list[Piece]:
    """The pieces in an order in which their outlines, painted filled one over the other, give the label map.

    By falling area with what they enclose: a piece comes after the one that it lies in.
    """
    return sorted(pieces(label_map), key=lambda piece: -int(filled(piece).sum()))


def filled(piece: Piece) -> Bool[np.ndarray, "h w"]:
    """The pixels of a piece and of what it encloses, holes that are closed by corners alone left open."""
    whole = piece.inside.copy()
    ndimage.binary_fill_holes(piece.inside, _CORNERS, output=whole)
    return whole


def outline(piece: Piece) -> Int64[np.ndarray, "n 2"]:
    """The outer border of a piece as corners (x, y) in pixels of the image; pixel (0, 0) reaches from (0, 0) to (1, 1).

    It runs clockwise as seen, and passes a corner twice where pixels touch there alone.
    """
    inside = np.pad(filled(piece), 1)
    # The first pixel of the first row is one of its own. Corner (r, c) is the upper left one of pixel (r, c); going
    # right, the piece lies below.
    start: tuple[int, int] = (1, int(inside[1].argmax()))
    corners: list[tuple[int, int]] = [start]
    at, heading = start, 0
    while True:
        at = (at[0] + _STEPS[heading][0], at[1] + _STEPS[heading][1])
        right, left = _ahead(inside, at, heading)
        turn = 1 if not right else (-1 if left else 0)
        if at == start and (heading + turn) % 4 == 0:
            break
        if turn:
            corners.append(at)
            heading = (heading + turn) % 4
    places = np.array(corners, np.int64) - 1 + (piece.top, piece.left)
    return places[:, ::-1]


def _ahead(inside: Bool[np.ndarray, "h w"], at: tuple[int, int], heading: int) -> tuple[bool, bool]:
    """Whether the pixels ahead of a corner belong to the piece: to the right of the way, and to the left.

    To turn to the right where only the left one does keeps pixels apart that touch at the corner.
    """
    row, column = at
    right, left = (
        ((row, column), (row - 1, column)),
        ((row, column - 1), (row, column)),
        ((row - 1, column - 1), (row, column - 1)),
        ((row - 1, column), (row - 1, column - 1)),
    )[heading]
    has_right = bool(inside[right])
    return has_right, has_right and bool(inside[left])
