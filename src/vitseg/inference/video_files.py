"""Writing video files with PyAV (FFmpeg), frame by frame, and what is known of them. PyAV is the extra [video]."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError, DataError
from vitseg.files import is_same_file

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the videos that we write, all in H.264, and FFmpeg's names of their formats."""

LONGEST_SIDE = 16384
"""Pixels of a frame's height or width that the H.264 encoder takes."""

BT709 = 1
"""FFmpeg's number of the colours of HD video."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video file says of itself.

    Attributes:
        num_frames: None where the header has no number.
        rate: Frames per second, on average.
        time_base: The unit of its times, in seconds.
        has_sound: Whether there is a sound track.
        seconds: Length of the whole file; None where the header has none.
    """

    num_frames: int | None
    rate: Fraction
    time_base: Fraction
    has_sound: bool
    seconds: float | None = None

    @property
    def expected_frames(self) -> int | None:
        """How many frames there are by the header, at the average rate where it has no number."""
        if self.num_frames is None and self.seconds is not None:
            return round(self.seconds * self.rate)
        return self.num_frames


@dataclass(frozen=True)
class TimedFrame:
    """One frame.

    Attributes:
        pixels: RGB.
        time: Seconds since the first frame.
        pixel_aspect: Width of a pixel by its height; 1 where pixels are square.
        damaged: Whether it could not be decoded as a whole; where nothing could, the pixels are those before it.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    time: Fraction
    pixel_aspect: Fraction = Fraction(1)
    damaged: bool = False


def check_target(target: Path) -> None:
    """Raise ConfigError unless a video can be written under this name."""
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{target}: videos are written as {', '.join(FORMATS)}. Give the output one of these suffixes."
        )
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.absolute().parent} does not exist.")


def require_another(target: Path, source: Path) -> None:
    """Raise ConfigError where a video would be written over the one that it is made of."""
    if is_same_file(target, source):
        raise ConfigError(f"{target} is the video to read: give the output another name.")


class VideoWriter:
    """Writes frames to an H.264 file; a context manager, which finishes the file.

    Args:
        path: Where to write.
        named: The name that the file gets in the end, whose suffix gives the format.
        source: The video whose frame rate and unit of time are taken over.
    """

    def __init__(self, path: Path, named: Path, source: VideoFacts):
        av = pyav()
        self._container = av.open(str(path), "w", format=FORMATS[named.suffix.lower()])
        stream = self._container.add_stream("h264", rate=source.rate)
        stream.pix_fmt = "yuv420p"
        # In the source's own unit no frame's time is rounded, so that odd rates (24000/1001) stay exact.
        self._time_base = source.time_base
        stream.codec_context.time_base = self._time_base
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_primaries = BT709
        stream.codec_context.color_trc = BT709
        self._stream = stream
        self._last = -1  # time of the last frame, in units of the time base

    def write(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        time: Fraction,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """Add a frame.

        Args:
            pixels: RGB; all frames have one size.
            time: Second from which on it is shown. If that is not later than the frame before, as of two times within
                one unit of the source, the frame comes one unit after it.
            pixel_aspect: Width of a pixel by its height, which the first frame gives for all.

        Raises:
            DataError: The frame is larger than H.264 allows.
        """
        av = pyav()
        height, width = pixels.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            raise DataError(
                f"a frame has {width}x{height} pixels, but a video is written with at most {LONGEST_SIDE} on a side: "
                "scale the video down."
            )
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._last < 0:
            self._stream.height, self._stream.width = pixels.shape[:2]
            self._stream.codec_context.sample_aspect_ratio = pixel_aspect
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._last = max(round(time / self._time_base), self._last + 1)
        frame.time_base, frame.pts = self._time_base, self._last
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._last >= 0:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def pyav() -> Any:
    """The module av.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("av")  # Any: its types leave much open
    except ImportError as error:
        raise ConfigError(
            "videos need PyAV, which is not installed: pip install 'vitseg[video]'"
        ) from error
