"""Reading and writing video files with PyAV (FFmpeg), frame by frame. PyAV is the extra [video]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError, DataError

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the videos that we write, all in H.264, and FFmpeg's names of their formats."""

DEFAULT_RATE = Fraction(25)
"""Frames per second of a file that does not say."""

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
    """

    num_frames: int | None
    rate: Fraction
    time_base: Fraction
    has_sound: bool


@dataclass(frozen=True)
class TimedFrame:
    """One frame, RGB, and its time in seconds since the first."""

    pixels: UInt8[np.ndarray, "H W 3"]
    time: Fraction


def read_facts(path: Path) -> VideoFacts:
    """What the header of a video says; see `VideoReader` for the errors."""
    with VideoReader(path) as reader:
        return reader.facts


def check_target(target: Path) -> None:
    """Raise ConfigError unless a video can be written under this name."""
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{target}: videos are written as {', '.join(FORMATS)}. Give the output one of these suffixes."
        )
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.absolute().parent} does not exist.")


class VideoReader:
    """The first video track of a file; a context manager, which closes the file.

    Attributes:
        facts: What its header says.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: There is no such file, or it holds no video.
    """

    def __init__(self, path: Path):
        av = _pyav()
        if not path.is_file():
            raise DataError(f"{path} is no file: give a video file.")
        try:
            # Some formats are lists of other files or addresses: nothing but local files is opened for them.
            self._container = av.open(str(path), options={"protocol_whitelist": "file"})
        except av.FFmpegError as error:
            raise DataError(
                f"{path} is no video that can be read, or is damaged: {error.strerror}."
            ) from error
        tracks = self._container.streams
        if not tracks.video:
            self._container.close()
            raise DataError(f"{path} holds no video track.")
        self._path = path
        self._stream = tracks.video[0]
        rate = Fraction(self._stream.average_rate or DEFAULT_RATE)
        time_base = Fraction(self._stream.time_base or 1 / rate)
        self.facts = VideoFacts(self._stream.frames or None, rate, time_base, bool(tracks.audio))

    def frames(self) -> Iterator[TimedFrame]:
        """The frames one by one, turned upright as players show them.

        A frame without a time, or with one that is past, follows the one before at the usual distance.

        Raises:
            DataError: A frame is damaged, or of another size than the first.
        """
        av = _pyav()
        number, start, time, shape = 0, Fraction(0), Fraction(0), None
        try:
            for number, frame in enumerate(self._container.decode(self._stream), start=1):
                if frame.is_corrupt:
                    raise DataError(f"{self._path} is damaged: frame {number} is incomplete.")
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if shape not in (None, pixels.shape):
                    raise DataError(
                        f"{self._path} changes its size at frame {number}: cut it into two videos there."
                    )
                shape = pixels.shape
                unit = frame.time_base or self.facts.time_base
                place = None if frame.pts is None else frame.pts * unit
                if number == 1:
                    start = place or start
                elif place is not None and place - start > time:
                    time = place - start
                else:
                    time += 1 / self.facts.rate
                yield TimedFrame(np.ascontiguousarray(pixels), time)
        except av.FFmpegError as error:
            raise DataError(
                f"{self._path} is damaged at frame {number + 1}: {error.strerror}."
            ) from error

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()


class VideoWriter:
    """Writes frames to an H.264 file; a context manager, which finishes the file.

    Args:
        path: Where to write.
        named: The name that the file gets in the end, whose suffix gives the format.
        source: The video whose frame rate and unit of time are taken over.
    """

    def __init__(self, path: Path, named: Path, source: VideoFacts):
        av = _pyav()
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

    def write(self, pixels: UInt8[np.ndarray, "H W 3"], time: Fraction) -> None:
        """Add a frame.

        Args:
            pixels: RGB; all frames have one size.
            time: Second from which on it is shown. If that is not later than the frame before, as of two times within
                one unit of the source, the frame comes one unit after it.

        Raises:
            DataError: The frame is larger than H.264 allows.
        """
        av = _pyav()
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


def _pyav():
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "videos need PyAV, which is not installed: pip install 'vitseg[video]'"
        ) from error
    return av
