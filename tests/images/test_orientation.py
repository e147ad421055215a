"""The tag that the header gives is the one by which reading turns the picture, whatever file it stands in."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, features

from tests.images.test_decode import encoded, exif, png_chunk
from vitseg.images.decode import decode_image, read_header
from vitseg.images.orientation import TURNS_IN_WORDS, inverse, upright
from vitseg.images.reader import has_rasterio

ORIENTATION = 0x0112
SHORT, LONG, RATIONAL, TEXT, FLOAT = 3, 4, 5, 2, 11
"""Types of a value in EXIF."""


@pytest.fixture
def ramp():
    """Smooth, so that a lossy format changes it little; no turn of it equals another."""
    y, x = np.mgrid[:40, :64]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def tag_of_type(kind: int, value: bytes) -> bytes:
    """EXIF with the orientation in a value of this type; RATIONAL and longer ones lie behind the directory."""
    count = len(value) if kind == TEXT else 1
    behind = len(value) > 4
    field = struct.pack("<I", 26) if behind else value.ljust(4, b"\0")
    entry = struct.pack("<HHI", ORIENTATION, kind, count) + field
    return (
        b"Exif\0\0II*\0"
        + struct.pack("<IH", 8, 1)
        + entry
        + b"\0\0\0\0"
        + (value if behind else b"")
    )


@pytest.mark.parametrize("turn", range(1, 9))
def test_inverse(ramp, turn):
    np.testing.assert_array_equal(upright(upright(ramp, turn), inverse(turn)), ramp)
    assert turn == 1 or TURNS_IN_WORDS[turn]


@pytest.mark.parametrize("tag", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_header_gives_the_tag_that_is_applied(ramp, kind, tag):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    content = encoded(Image.fromarray(ramp), kind, exif=exif(tag), quality=95)
    applied = tag if 1 <= tag <= 8 else 1
    header, image = read_header(content), decode_image(content)
    assert (header.orientation, header.size) == (applied, image.shape[:2])
    assert image.shape == upright(ramp, applied).shape
    assert np.abs(image.astype(int) - upright(ramp, applied)).mean() < 6


@pytest.mark.parametrize(
    ("kind", "value", "applied"),
    [
        (SHORT, struct.pack("<H", 6), 6),
        (LONG, struct.pack("<I", 6), 6),
        (FLOAT, struct.pack("<f", 6), 6),
        (RATIONAL, struct.pack("<II", 6, 1), 6),
        (RATIONAL, struct.pack("<II", 13, 2), 1),
        (RATIONAL, struct.pack("<II", 6, 0), 1),
        (TEXT, b"6\0", 1),
        (TEXT, b"right-top\0", 1),
        (SHORT, struct.pack("<H", 65535), 1),
    ],
)
def test_tags_of_odd_types(ramp, kind, value, applied):
    content = encoded(Image.fromarray(ramp), "JPEG", exif=tag_of_type(kind, value))
    header = read_header(content)
    assert header.orientation == applied
    assert header.size == decode_image(content).shape[:2] == upright(ramp, applied).shape[:2]


@pytest.mark.parametrize("tag", [2, 3, 5, 8])
def test_the_tag_behind_the_pixels_of_a_png_is_in_the_header(ramp, tag):
    end = png_chunk(b"IEND", b"")
    late = png_chunk(b"eXIf", exif(tag).tobytes().removeprefix(b"Exif\0\0"))
    content = encoded(Image.fromarray(ramp)).removesuffix(end) + late + end
    header = read_header(content)
    assert header.orientation == tag
    np.testing.assert_array_equal(decode_image(content), upright(ramp, tag))
    assert header.size == upright(ramp, tag).shape[:2]


@pytest.mark.skipif(not has_rasterio(), reason="without rasterio, nothing lies on a map")
@pytest.mark.parametrize("tag", [3, 6])
def test_a_raster_on_a_map_is_not_turned_and_its_header_says_so(tmp_path, ramp, tag):
    place = {33550: (1.0, 1.0, 0.0), 33922: (0.0, 0.0, 0.0, 100.0, 200.0, 0.0)}
    for info, applied in (({}, tag), (place, 1)):
        Image.fromarray(ramp).save(tmp_path / "map.tif", tiffinfo={ORIENTATION: tag, **info})
        header = read_header(tmp_path / "map.tif")
        assert header.orientation == applied
        np.testing.assert_array_equal(decode_image(tmp_path / "map.tif"), upright(ramp, applied))
        assert header.size == upright(ramp, applied).shape[:2]


def test_bytes_of_a_tiff_on_a_map(ramp):
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "TIFF", tiffinfo={ORIENTATION: 6})
    assert read_header(buffer.getvalue()).size == (64, 40)
