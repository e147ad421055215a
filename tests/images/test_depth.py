"""Telling by the header whether a picture may have more than 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg.images.depth import may_be_deep


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif", "ppm"])
def test_eight_bits(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(photo(20, 30)).save(path)
    assert not may_be_deep(path)
    assert not may_be_deep(path.read_bytes())


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    values = np.arange(600).reshape(20, 30)
    Image.fromarray(values.astype(np.uint16)).save(path)
    assert may_be_deep(path)


def test_floating_point_and_other_types(tmp_path):
    path = tmp_path / "image.tif"
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.ones((20, 30), dtype)).save(path)
        assert may_be_deep(path)


@pytest.mark.parametrize(
    ("head", "deep"),
    [
        (b"P5 # from a camera\n# 12 bits\n30 20\n4095\n", True),
        (b"P6\n30 20 255\n", False),
        (b"P3\n30 20 1023\n", True),
        (b"P4\n30 20\n" + b"9" * 99, False),
        (b"P5\n30 20\nxyz\n", False),
        (b"P5\n30", False),
    ],
)
def test_ppm_files(head, deep):
    assert may_be_deep(head + bytes(1200)) is deep


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"no picture at all"])
def test_what_is_damaged_is_not(content, tmp_path):
    assert not may_be_deep(content)
    assert not may_be_deep(tmp_path / "missing.png")
