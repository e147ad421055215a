from __future__ import annotations

import numpy as np
import pytest

from vitseg.images.brush_rle import decode_brush, encode_brush


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    long = np.zeros((300, 400), bool)  # of runs beyond 65,536 values
    long[100, 7] = True
    return {
        "random": rng.random((37, 23)) < 0.4,
        "sparse": rng.random((61, 113)) < 0.01,
        "empty": np.zeros((5, 7), bool),
        "full": np.ones((211, 179), bool),
        "one row": rng.random((1, 97)) < 0.5,
        "one column": rng.random((97, 1)) < 0.5,
        "one pixel": np.ones((1, 1), bool),
        "long runs": long,
        "exactly a piece": np.ones((128, 128), bool),  # 65,536 values
        "one more": np.ones((1, 16385), bool),
    }


@pytest.mark.parametrize("name", masks())
def test_what_is_written_is_read(name):
    inside = masks()[name]
    np.testing.assert_array_equal(decode_brush(encode_brush(inside), inside.shape), inside)


@pytest.mark.parametrize("name", masks())
def test_label_studio_reads_it(name):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    inside = masks()[name]
    values = np.asarray(brush.decode_rle(list(encode_brush(inside))), np.uint8)
    expected = np.repeat(np.where(inside.ravel(), 255, 0), 4)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("name", masks())
def test_label_studios_own_strokes_are_read(name):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    inside = masks()[name]
    stroke = brush.mask2rle(np.where(inside, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(decode_brush(bytes(stroke), inside.shape), inside)
