"""Reading video files with PyAV (FFmpeg), frame by frame, past what is damaged. PyAV is the extra [video]."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitseg.errors import DataError
from vitseg.images.notices import say_notices
from vitseg.images.value_range import ValueRange
from vitseg.inference.mp4_boxes import missing_index
from vitseg.inference.video_files import TimedFrame, VideoFacts, pyav
from vitseg.inference.video_values import RANGE_OF_TYPE, frame_pixels, needs_range

DEFAULT_RATE = Fraction(25)
"""Frames per second of a file that does not say."""

MOST_ERRORS = 100
"""Errors in a row after which the rest of a file is given up."""

MOST_FILLED = 1000
"""Lost frames between two others that are filled in."""

LARGEST_ASPECT = 65535
"""Numerator and denominator of a pixel's shape that H.264 holds."""


def read_facts(path: Path) -> VideoFacts:
    """What the header of a video says; see `VideoReader` for the errors."""
    with VideoReader(path) as reader:
        return reader.facts


class VideoReader:
    """The first video track of a file; a context manager, which closes the file.

    Attributes:
        facts: What its header says.
        ends_early: Once all frames are read: whether the file is shorter than its header says.

    Args:
        path: The file.
        value_range: Black and white of grey and RGB frames of more than 8 bits, if they are stated.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: There is no such file, or it holds no video.
    """

    def __init__(self, path: Path, value_range: ValueRange | None = None):
        av = pyav()
        if not path.is_file():
            raise DataError(f"{path} is no file: give a video file.")
        try:
            # Some formats are lists of other files or addresses: nothing but local files is opened for them.
            self._container = av.open(str(path), options={"protocol_whitelist": "file"})
        except av.FFmpegError as error:
            reason = missing_index(path)
            if reason is None:
                reason = f"or is damaged: {error.strerror}."
            raise DataError(f"{path} is no video that can be read, {reason}") from error
        tracks = self._container.streams
        reason = missing_index(path) or (None if tracks.video else "since it holds no video track.")
        if reason is not None:
            self._container.close()
            raise DataError(f"{path} is no video that can be read, {reason}")
        self._path = path
        self._value_range = value_range
        self._stream = tracks.video[0]
        rate = Fraction(self._stream.average_rate or DEFAULT_RATE)
        time_base = Fraction(self._stream.time_base or 1 / rate)
        length = self._container.duration
        if length and "matroska" in self._container.format.name:
            length -= max(0, self._container.start_time or 0)  # its header counts from zero
        self.facts = VideoFacts(
            self._stream.frames or None,
            rate,
            time_base,
            bool(tracks.audio),
            length / av.time_base if length else None,
        )
        self.ends_early = False
        self._end = 0.0  # of the last packet, in seconds of the file

    def frames(self) -> Iterator[TimedFrame]:
        """The frames one by one, turned upright as players show them.

        A frame without a time, or with one that is past, follows the one before at the usual distance. In place of a
        frame that cannot be decoded comes the one before once more, at its own time; before the first it is left out.

        Raises:
            DataError: A frame is of another size than the first.
        """
        start: Fraction | None = None
        last: TimedFrame | None = None
        for number, (frame, place, damaged) in enumerate(self._in_order(), start=1):
            if frame is not None:
                if last is None and self._value_range is None and needs_range(frame):
                    say_notices(str(self._path), [RANGE_OF_TYPE])
                pixels = frame_pixels(frame, self._value_range)
                pixels = np.rot90(pixels, frame.rotation // 90)
                if last is not None and last.pixels.shape != pixels.shape:
                    raise DataError(
                        f"{self._path} changes its size at frame {number}: cut it into two videos there."
                    )
                turned = bool(frame.rotation // 90 % 2)
                shown = TimedFrame(
                    np.ascontiguousarray(pixels),
                    Fraction(0),
                    self._pixel_aspect(turned),
                    damaged,
                )
            elif last is not None:
                shown = replace(last, damaged=True)
            else:
                continue
            if last is None:
                start = place or Fraction(0)
            elif place is not None and start is not None and place - start > last.time:
                shown = replace(shown, time=place - start)
            else:
                shown = replace(shown, time=last.time + 1 / self.facts.rate)
            last = shown
            yield shown

    def _in_order(self) -> Iterator[tuple[Any | None, Fraction | None, bool]]:
        """Frames, their places in seconds of the file, and whether they are damaged; None for a frame that is lost.

        Packets come in the order of decoding, frames in that of showing. From the first sign of damage to the next key
        frame, a place that comes to be passed without its frame is that of a lost one, and so is each usual distance
        without a packet. Elsewhere both are normal: some packets hold no picture, and some rates vary.
        """
        waiting: list[Fraction] = []
        broken: set[Fraction] = set()
        hurt: Fraction | None = None  # the latest place that is damaged
        before: Fraction | None = None
        usual = 1 / self.facts.rate  # seconds between frames
        for packet in self._packets():
            place = None if packet.pts is None else packet.pts * packet.time_base
            if place is not None and packet.size and not packet.is_discard:
                heapq.heappush(waiting, place)
            if packet.is_corrupt and place is not None:
                broken.add(place)
            frames: list[Any] = []
            try:
                frames = packet.decode()
            except pyav().FFmpegError:
                hurt = _latest(hurt, before, place)
                if place is None:
                    yield None, None, True
            for frame in frames:
                unit = frame.time_base or self.facts.time_base
                shown = None if frame.pts is None else frame.pts * unit
                damaged = bool(frame.is_corrupt) or shown in broken
                if damaged:
                    hurt = _latest(hurt, before, shown)
                if shown is not None:
                    passed = _take_before(waiting, shown)
                    if hurt is not None:
                        for lost in _lost(passed, before, shown, usual):
                            yield None, lost, True
                    elif before is not None and shown > before:
                        usual = shown - before
                    before = shown
                yield frame, shown, damaged
                if hurt is not None and frame.key_frame and (before or 0) > hurt:
                    hurt = None
        if hurt is not None:
            for lost in sorted(waiting):
                yield None, lost, True

    def _packets(self) -> Iterator[Any]:
        """The packets of the video; at the end the empty one, which brings out what the decoder holds back."""
        errors = 0
        while errors < MOST_ERRORS:
            try:
                for packet in self._container.demux():
                    errors = 0
                    self._seen(packet)
                    if packet.stream is self._stream or packet.stream.index == self._stream.index:
                        yield packet
                break
            except pyav().FFmpegError:  # damage between packets: what follows may be whole
                errors += 1
        self.ends_early = self._is_short()

    def _seen(self, packet: Any) -> None:
        """Note where the packet ends, of sound as well: the header's length is that of the longest track."""
        if packet.size == 0:
            return
        place = packet.dts if packet.pts is None else packet.pts
        if place is not None and packet.time_base is not None:
            end = float((place + (packet.duration or 0)) * packet.time_base)
            self._end = max(self._end, end)

    def _is_short(self) -> bool:
        """Whether the packets end before the length in the header, and more so than headers err."""
        facts = self.facts
        seconds = max(facts.seconds or 0.0, float((facts.num_frames or 0) / facts.rate))
        begin = float((self._container.start_time or 0) / pyav().time_base)
        return begin + seconds - self._end > max(3 / facts.rate, seconds / 100)

    def _pixel_aspect(self, turned: bool) -> Fraction:
        """The shape of a pixel as it is shown; square where the file does not say."""
        found = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio
        if not found or found < 0:
            return Fraction(1)
        aspect = Fraction(1 / found if turned else found).limit_denominator(LARGEST_ASPECT)
        return aspect if 0 < aspect.numerator <= LARGEST_ASPECT else Fraction(1)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()


def _lost(
    passed: list[Fraction], before: Fraction | None, shown: Fraction, usual: Fraction
) -> list[Fraction]:
    """Places of lost frames: those of passed packets, and between two of which more than one is missing."""
    places = [*passed]
    if before is not None:
        for start, end in pairwise([before, *passed, shown]):
            missing = min(round((end - start) / usual) - 1, MOST_FILLED)
            places += [start + number * usual for number in range(1, missing + 1)]
    return sorted(places)


def _take_before(waiting: list[Fraction], shown: Fraction) -> list[Fraction]:
    """Take all places up to one from a heap; returns those before it, in order."""
    passed: list[Fraction] = []
    while waiting and waiting[0] <= shown:
        place = heapq.heappop(waiting)
        if place < shown:
            passed.append(place)
    return passed


def _latest(*places: Fraction | None) -> Fraction:
    """The latest of those that are known."""
    return max((place for place in places if place is not None), default=Fraction(0))
