from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from vitseg.data.formats.rasterise import decode_counts
from vitseg.data.formats.shapes import RunLengths, ShapeMasks

rle_tools: Any = mask  # its types are narrower than what it takes
SIZE = (40, 30)


def triangle(rng) -> np.ndarray:
    return rng.uniform(-5, 45, 6).round(2)


def read(shapes, size=SIZE, rest=0) -> np.ndarray:
    masks = ShapeMasks((Path("a.json"),), rest)
    masks.add_image(shapes, size)
    return masks.read(0, lambda: size)


def square(left, top, side) -> list[np.ndarray]:
    right, bottom = left + side, top + side
    return [np.array([left, top, right, top, right, bottom, left, bottom], float)]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_polygons_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(50):
        polygons = [triangle(rng), triangle(rng)]
        encoded = rle_tools.merge(rle_tools.frPyObjects(polygons, *SIZE))
        np.testing.assert_array_equal(read([(1, polygons)]), rle_tools.decode(encoded))


def test_decoded_counts_are_what_was_encoded():
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(1, 40, 2)
        truth = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        counts = decode_counts(rle_tools.encode(np.asfortranarray(truth))["counts"])
        flat = np.repeat(np.arange(len(counts)) % 2, counts)
        np.testing.assert_array_equal(flat.reshape(width, height).T, truth)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "empty"),
        ("0!", "alphabet"),
        ("5P", "ends within a number"),
        ("PPPPPPPP1", "beyond 32 bits"),
        ("L", "negative"),
    ],
)
def test_damaged_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        decode_counts(counts)


def test_the_smaller_shape_stays_visible_whatever_the_order():
    large, small = (1, square(2, 2, 20)), (2, square(5, 5, 4))
    one, other = read([large, small]), read([small, large])
    np.testing.assert_array_equal(one, other)
    assert (one == 2).sum() == 16
    assert (one == 1).sum() == 400 - 16


def test_of_equally_large_shapes_the_later_is_seen():
    assert read([(1, square(2, 2, 4)), (2, square(2, 2, 4))])[3, 3] == 2


def test_pixels_without_shape_are_the_rest():
    assert (read([], rest=65535) == 65535).all()
    assert read([(3, square(0, 0, 2))], rest=9)[5, 5] == 9


def test_several_images_and_kinds_of_shape():
    masks = ShapeMasks((Path("a.txt"), Path("b.txt")), 0)
    whole = rle_tools.encode(np.ones(SIZE, np.uint8, order="F"))["counts"]
    masks.add_image([(4, RunLengths(whole)), (5, square(1, 1, 3))], SIZE)
    masks.add_image([(6, [np.array([0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5])])], None)
    first = masks.read(0, lambda: (1, 1))
    assert ((first == 4).sum(), (first == 5).sum()) == (40 * 30 - 9, 9)
    second = masks.read(1, lambda: (8, 6))
    assert second.shape == (8, 6)
    assert (second[:4, :3] == 6).all()
    assert (second == 6).sum() == 12
    assert masks.files(1) == (Path("b.txt"),)
