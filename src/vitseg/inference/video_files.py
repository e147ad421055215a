"""Reading and writing video files with PyAV (FFmpeg), frame by frame. PyAV is the extra [video]."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from av.video.stream import VideoStream

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the videos that we write, all in H.264, and FFmpeg's names of their formats."""

DEFAULT_RATE = Fraction(25)
"""Frames per second of a file that does not say."""

TIME_BASE = Fraction(1, 90_000)
"""Unit of the times that we write, in seconds: divides the usual frame rates, 24000/1001 among them."""

BT709 = 1
"""FFmpeg's number of the colours of HD video."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video file says of itself.

    Attributes:
        num_frames: None where the header has no number.
        rate: Frames per second, on average.
        has_sound: Whether there is a sound track.
    """

    num_frames: int | None
    rate: Fraction
    has_sound: bool


@dataclass(frozen=True)
class TimedFrame:
    """One frame, RGB, and its time in seconds since the first."""

    pixels: UInt8[np.ndarray, "H W 3"]
    time: Fraction


def read_facts(path: Path) -> VideoFacts:
    """What the header of a video says.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: There is no such file, or it holds no video.
    """
    with opened_video(path) as stream:
        return VideoFacts(
            stream.frames or None, _rate(stream), bool(stream.container.streams.audio)
        )


def check_target(target: Path) -> None:
    """Raise ConfigError unless a video can be written under this name."""
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{target}: videos are written as {', '.join(FORMATS)}. Give the output one of these suffixes."
        )
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.absolute().parent} does not exist.")


@contextmanager
def opened_video(path: Path) -> Iterator[VideoStream]:
    """The first video track of a file.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: There is no such file, or it holds no video.
    """
    av = _pyav()
    if not path.is_file():
        raise DataError(f"{path} is no file: give a video file.")
    try:
        # Some formats are lists of other files or addresses: nothing but local files is opened for them.
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path} is no video that can be read, or is damaged: {error.strerror}."
        ) from error
    with container:
        if not container.streams.video:
            raise DataError(f"{path} holds no video track.")
        yield container.streams.video[0]


def upright_frames(path: Path, stream: VideoStream) -> Iterator[TimedFrame]:
    """The frames of a track one by one, turned as players show them.

    Raises:
        DataError: A frame is damaged, or of another size than the first.
    """
    av = _pyav()
    step = 1 / _rate(stream)
    first: Fraction | None = None
    time, number, size = -step, 0, None
    try:
        for frame in stream.container.decode(stream):
            if frame.is_corrupt:
                raise DataError(f"{path} is damaged: frame {number + 1} is incomplete.")
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            if size not in (None, pixels.shape):
                raise DataError(
                    f"{path} changes its frame size at frame {number + 1}: cut it there into two videos."
                )
            place = (
                None
                if frame.pts is None or frame.time_base is None
                else frame.pts * frame.time_base
            )
            first = place if first is None else first
            # A frame without a time of its own, or with one that is past, follows the last at the usual distance.
            late = place is not None and first is not None and place - first > time
            time = place - first if late else time + step
            number, size = number + 1, pixels.shape
            yield TimedFrame(np.ascontiguousarray(pixels), time)
    except av.error.FFmpegError as error:
        raise DataError(f"{path} is damaged after frame {number}: {error.strerror}.") from error


class VideoWriter:
    """Writes frames to an H.264 file; a context manager, which finishes the file.

    Args:
        path: Where to write.
        named: The name that the file gets in the end, whose suffix gives the format.
        source: The track whose frame rate is taken over.
    """

    def __init__(self, path: Path, named: Path, source: VideoStream):
        av = _pyav()
        self._container = av.open(str(path), "w", format=FORMATS[named.suffix.lower()])
        stream = self._container.add_stream("h264", rate=_rate(source))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_primaries = BT709
        stream.codec_context.color_trc = BT709
        self._stream = stream
        self._started = False

    def write(self, pixels: UInt8[np.ndarray, "H W 3"], time: Fraction) -> None:
        """Add a frame, shown from this time on, in seconds; all frames have one size."""
        av = _pyav()
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self._started:
            self._stream.height, self._stream.width = pixels.shape[:2]
            self._started = True
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.time_base, frame.pts = TIME_BASE, round(time / TIME_BASE)
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._started:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def _rate(stream: VideoStream) -> Fraction:
    return Fraction(stream.average_rate or DEFAULT_RATE)


def _pyav():
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "videos need PyAV, which is not installed: pip install 'vitseg[video]'"
        ) from error
    return av
