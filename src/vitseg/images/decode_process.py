"""Decoding in a process of its own, within time and memory, for images that may take much of both.

A file that ends that process, or is too dear for it, becomes one `DataError`, and the next file gets a new process. One
is started where the first costly image comes, serves all that follow, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images.bands import Bands, FileBands
from vitseg.images.decoded import MAX_PIXELS, Decoded
from vitseg.images.georeference import Georeference
from vitseg.images.pixel_source import Notice
from vitseg.images.sources import Source, name_of
from vitseg.images.value_range import Declared, PictureValues, Unstated, ValueRange
from vitseg.images.window import Window
from vitseg.parsing import parse_json

MAX_SECONDS = 120.0
"""Time that an image of `MAX_PIXELS` may take, on the clock; more for more pixels, where these are asked for."""

MAX_MEMORY = 4_000_000_000
"""Bytes that decoding it may take beside what Python itself does, where the system can tell; likewise."""

_DECODED_BYTES = 24  # per pixel, where an image that was to be read in windows is decoded whole

_at_most: ContextVar[float] = ContextVar("at_most", default=float("inf"))

inside = False
"""Whether this is such a process, which decodes all itself."""


_all: weakref.WeakSet[DecodeProcess] = weakref.WeakSet()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """In this block an image may take no more time than that to decode, as where somebody waits for it.

    Args:
        seconds: On the clock; above 0.
    """
    token = _at_most.set(seconds)
    try:
        yield
    finally:
        _at_most.reset(token)


class DecodeProcess:
    """A process that decodes images. Started on the first request, and anew where an image has ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        _all.add(self)

    def ask(
        self, call: str, source: Source, *arguments: Any, max_pixels: int = MAX_PIXELS
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """Have something done with an image.

        Args:
            call: What, by the name that `decode_server` has for it.
            source: The image.
            arguments: What the call takes besides, as JSON can hold it.
            max_pixels: By which time and memory are measured.

        Returns:
            Facts, and pixels where there are any.

        Raises:
            DataError: As the call itself does; or the image takes more time or memory, or ended the process.
        """
        share = max(1.0, max_pixels / MAX_PIXELS)
        seconds, memory = min(MAX_SECONDS * share, _at_most.get()), int(MAX_MEMORY * share)
        content = source if isinstance(source, bytes) else b""
        request = {
            "call": call,
            "path": None if isinstance(source, bytes) else coded(str(source)),
            "num_bytes": len(content),
            "folder": coded(os.getcwd()),
            "arguments": arguments,
            "seconds": seconds,
            "memory": memory,
        }
        with self._lock:
            try:
                answer = self._exchange(json.dumps(request).encode() + b"\n" + content)
            except (
                BaseException
            ):  # Ctrl-C, too: what comes next would be the answer to this request
                self._end(0.0)
                raise
            if answer is None:
                reason = _reason(self._end(5.0), seconds)
                raise DataError(f"{name_of(source)} {reason}")
        facts, pixels = answer
        if "error" in facts:
            said = as_text(facts["error"])
            if isinstance(source, bytes):  # the process knows no name of it
                said = said.replace(name_of(b""), name_of(source))
            raise DataError(said)
        if "no_memory" in facts:
            raise DataError(
                f"{name_of(source)} takes more than {memory / 1e9:.3g} GB of memory to decode, and was left out. Save "
                "it again with a common program, or smaller."
            )
        if "fault" in facts:
            raise RuntimeError(f"{name_of(source)}: {as_text(facts['fault'])}")
        return facts, pixels

    def close(self) -> None:
        """End the process; a further request starts a new one."""
        with self._lock:
            self._end(1.0)

    def _exchange(self, request: bytes) -> tuple[dict[str, Any], np.ndarray | None] | None:
        """The answer to a request; None where the process has ended before it was complete."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
        except BrokenPipeError:
            return None
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        facts = parse_json(line, finite=False)
        if "shape" not in facts:
            return facts, None
        pixels = np.empty(facts["shape"], np.dtype(facts["type"]))
        rest = pixels.data.cast("B") if pixels.size else memoryview(b"")
        while rest:
            count = process.stdout.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue]
            if not count:
                return None
            rest = rest[count:]
        return facts, pixels

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vitseg.images.decode_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": paths},
            )
        return self._process

    def _end(self, wait: float) -> int:
        """End the process, and give its exit code.

        Args:
            wait: Seconds that it gets to end by itself once nothing more can be asked.
        """
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        with suppress(OSError):  # it is gone
            process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def forget(self) -> None:
        """In a copy of this process, to which it does not belong: it has to end with the original alone."""
        process, self._process = self._process, None
        self._lock = threading.Lock()
        if process is None:
            return
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            os.dup2(nowhere, stream.fileno())  # closing it might write what is left in its buffer
        os.close(nowhere)


def coded(text: str) -> str:
    """A text with the name of a file, whose bytes need not be letters, as JSON can hold it; see `as_text`."""
    return os.fsencode(text).hex()


def as_text(code: str) -> str:
    """What `coded` has coded."""
    return os.fsdecode(bytes.fromhex(code))


def _reason(code: int, seconds: float) -> str:
    """Why there is no image, by the exit code of the process."""
    name = signal.Signals(-code).name if code < 0 and -code in signal.valid_signals() else str(code)
    if name == "SIGALRM":
        return (
            f"takes longer than {seconds:.0f} s to decode, and was left out. Save it again with a common program, or "
            "smaller."
        )
    if name == "SIGKILL":
        return "was left out: the system ended the process that decoded it, most likely for want of memory."
    return (
        f"is damaged: the process that decoded it crashed ({name}). Copy or export the file again."
    )


_common = DecodeProcess()


@atexit.register
def _close_all() -> None:
    for process in _all:
        process.close()


def _forget_all() -> None:
    for process in _all:
        process.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def decode(
    source: Source,
    at_least: tuple[int, int] | None,
    max_pixels: int,
    declared: Declared,
    placed: bool = False,
) -> Decoded:
    """As `reader.decode`."""
    facts, pixels = _common.ask(
        "decode", source, at_least, max_pixels, _told(declared), placed, max_pixels=max_pixels
    )
    assert pixels is not None
    pixels, valid = _without_gaps(facts, pixels)
    height, width = facts["size"]
    values = None if facts["values"] is None else PictureValues.from_json(facts["values"])
    return Decoded(
        pixels, (height, width), _notices(facts), values, facts["has_alpha"], _place(facts), valid
    )


def header(source: Source) -> dict[str, Any]:
    """The fields of `header.header_of`."""
    facts, _ = _common.ask("header", source)
    return facts | {"size": tuple(facts["size"])}


def mask(call: str, source: Source, max_pixels: int) -> np.ndarray:
    """As `decode.decode_mask` (by the name "mask") and `decode.decode_color_mask` ("colors")."""
    _, pixels = _common.ask(call, source, max_pixels, max_pixels=max_pixels)
    assert pixels is not None
    return pixels


def layers(
    source: Source, max_pixels: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The fields of `decode.Layers`."""
    facts, stack = _common.ask("layers", source, max_pixels, max_pixels=max_pixels)
    assert stack is not None
    places = facts["places"]  # of opacity and indices behind the colours
    opacity, indices = (None if place is None else stack[..., place].copy() for place in places)
    return np.ascontiguousarray(stack[..., :3]), opacity, indices


def file_bands(source: Source) -> FileBands:
    """As `band_reader.file_bands`."""
    facts, _ = _common.ask("file_bands", source)
    return FileBands(tuple(facts["names"]), tuple(facts["colors"]), tuple(facts["types"]))


def bands(source: Source, chosen: Bands, max_pixels: int, placed: bool) -> BandValues:
    """The values of chosen bands of a whole image.

    Args:
        source: The image.
        chosen: The choice.
        max_pixels: Largest height * width.
        placed: As for `reader.decode`.
    """
    facts, values = _common.ask(
        "bands", source, max_pixels, _told(chosen), placed, max_pixels=max_pixels
    )
    assert values is not None
    values, valid = _without_gaps(facts, values)
    return BandValues(values, _notices(facts), _place(facts), valid)


class BandValues(NamedTuple):
    """A whole image of chosen bands.

    Attributes:
        values: Those of each band, (H, W, c).
        notices: What was decided about them.
        georeference: Where it lies, if it is a map and that was asked for.
        valid: Which pixels hold data, where that was asked for; None: all.
    """

    values: np.ndarray
    notices: tuple[Notice, ...]
    georeference: Georeference | None
    valid: Bool[np.ndarray, "H W"] | None


class DistantImage:
    """An image of which windows are read in a process of its own; a `PixelSource`, to be closed.

    Args:
        path: The file.
        max_bytes: As for `reader.open_windows`.
        declared: Black and white of more than 8 bits, if they are stated; or the bands that are chosen.
    """

    def __init__(self, path: Path, max_bytes: int, declared: Declared | Bands):
        self._process, self._path = DecodeProcess(), path
        try:
            pixels = max(MAX_PIXELS, max_bytes // _DECODED_BYTES)
            facts, _ = self._process.ask(
                "open", path, max_bytes, _told(declared), max_pixels=pixels
            )
        except BaseException:
            self._process.close()
            raise
        self.name = str(path)
        self.size: tuple[int, int] = (facts["size"][0], facts["size"][1])
        self.held_bytes: int = facts["held_bytes"]
        self.has_gaps: bool = facts["has_gaps"]
        self.georeference = _place(facts)
        self.notices = _notices(facts)

    def read(self, window: Window) -> UInt8[np.ndarray, "h w c"]:
        _, pixels = self._process.ask("read", self._path, *window)
        assert pixels is not None
        return pixels

    def read_planes(self, window: Window) -> list[np.ndarray]:
        """The values of each band, (h, w), where bands are chosen."""
        _, values = self._process.ask("planes", self._path, *window)
        assert values is not None
        return [*values]

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        return self._process.ask("valid", self._path, *window)[1] if self.has_gaps else None

    def close(self) -> None:
        """Close the file and end the process."""
        self._process.close()


def _place(facts: dict[str, Any]) -> Georeference | None:
    place = facts["georeference"]
    return None if place is None else Georeference.from_json(place)


def _without_gaps(
    facts: dict[str, Any], pixels: np.ndarray
) -> tuple[np.ndarray, Bool[np.ndarray, "H W"] | None]:
    """Pixels as they were sent, and which of them hold data: their last channel, where not all do."""
    if not facts["has_gaps"]:
        return pixels, None
    return np.ascontiguousarray(pixels[..., :-1]), pixels[..., -1] != 0


def _notices(facts: dict[str, Any]) -> tuple[Notice, ...]:
    return tuple(
        Notice(kind, text, of_many, None if limits is None else ValueRange(*limits))
        for kind, text, of_many, limits in facts["notices"]
    )


def _told(declared: Declared | Bands) -> Any:
    """A declared range, or bands, as JSON can hold it."""
    if isinstance(declared, Bands):
        return declared.model_dump(mode="json")
    return declared.name if isinstance(declared, Unstated) else declared
