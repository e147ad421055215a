"""Frames of more than 8 bits, read by a declared range."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from vitseg.images.value_range import ValueRange
from vitseg.inference.video_reader import VideoReader


def write(path, pix_fmt, values):
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=5)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
        for value in values:
            format_of_array = "rgb48le" if "rgb" in pix_fmt or "gbr" in pix_fmt else "gray16le"
            shape = (48, 64, 3) if format_of_array == "rgb48le" else (48, 64)
            frame = av.VideoFrame.from_ndarray(np.full(shape, value, np.uint16), format_of_array)
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def greys(path, declared):
    with VideoReader(path, declared) as reader:
        return [int(frame.pixels[10, 10, 1]) for frame in reader.frames()]


@pytest.mark.parametrize("pix_fmt", ["gray16le", "rgb48le"])
def test_sixteen_bits(tmp_path, pix_fmt, caplog):
    path = write(tmp_path / "clip.mkv", pix_fmt, [0, 1000, 3060, 5000])
    assert greys(path, ValueRange(0, 3060)) == [0, 83, 255, 255]
    assert not caplog.messages
    assert greys(path, None)[1:3] == [4, 12]
    (line,) = caplog.messages
    assert "--value-range" in line


@pytest.mark.parametrize(
    ("pix_fmt", "bits"), [("gray10le", 10), ("gray12le", 12), ("gbrp12le", 12)]
)
def test_fewer_bits_are_in_the_frames_own_values(tmp_path, pix_fmt, bits, caplog):
    shift = 2 ** (16 - bits)
    path = write(tmp_path / "clip.mkv", pix_fmt, [0, 200 * shift, 400 * shift])
    found = greys(path, ValueRange(0, 400))
    assert found == pytest.approx([0, 127, 255], abs=2)
    greys(path, None)
    assert not caplog.messages  # the depth says what is white


def test_colour_of_television_is_left_as_it_is(tmp_path):
    path = write(tmp_path / "clip.mkv", "yuv420p10le", [0, 30_000])
    assert greys(path, ValueRange(0, 300)) == greys(path, None)
