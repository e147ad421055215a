from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as rle_tools

from vitseg.images.outlines import filled, outline, pieces


def drawn(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return rle_tools.decode(rle_tools.frPyObjects([points.ravel().tolist()], *size))[:, :, 0] > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 23)])
@pytest.mark.parametrize("seed", range(5))
def test_an_outline_that_is_drawn_gives_the_pixels_and_what_they_enclose(size, seed):
    labels = np.random.default_rng(seed).integers(0, 2 + seed % 2, size)
    seen = np.zeros(size, int)
    for piece in pieces(labels):
        box = np.s_[
            piece.top : piece.top + piece.inside.shape[0],
            piece.left : piece.left + piece.inside.shape[1],
        ]
        assert (labels[box][piece.inside] == piece.index).all()
        seen[box] += piece.inside
        whole = np.zeros(size, bool)
        whole[box] = filled(piece)
        np.testing.assert_array_equal(drawn(outline(piece), size), whole)
    assert (seen == 1).all()


def test_corners_of_a_square_and_of_a_ring():
    labels = np.zeros((6, 7), int)
    labels[1:5, 2:6] = 1
    labels[2:4, 3:5] = 0
    ring = next(piece for piece in pieces(labels) if piece.index == 1)
    assert outline(ring).tolist() == [[2, 1], [6, 1], [6, 5], [2, 5]]
    assert filled(ring).all()
    assert not ring.inside.all()


def test_a_hole_that_is_closed_by_corners_alone_is_open():
    inside = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    piece = next(each for each in pieces(inside) if each.index == 1)
    assert filled(piece).sum() == 7
    corners = outline(piece).tolist()
    assert corners.count([2, 2]) == 2  # a corner where pixels touch is passed twice
    np.testing.assert_array_equal(drawn(outline(piece), inside.shape), inside > 0)
