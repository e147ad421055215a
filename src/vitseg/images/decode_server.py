"""What runs in the process that decodes costly images: `python -m vitseg.images.decode_server`.

It reads requests from its standard input and answers each on its standard output, until the input ends. A request or an
answer is a line of JSON and then as many bytes as it says. The system itself ends the process where an image takes too
long, and refuses it memory beyond its budget.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitseg.errors import VitsegError
from vitseg.images import decode_process
from vitseg.images.bands import Bands
from vitseg.images.decode_process import as_text, coded
from vitseg.images.georeference import Georeference
from vitseg.images.pixel_source import valid_of
from vitseg.images.value_range import Declared, Unstated, ValueRange
from vitseg.images.window import Window
from vitseg.parsing import parse_json


def main() -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for screen in (1, 2):  # libraries print their warnings there
        os.dup2(nowhere, screen)
    decode_process.inside = True
    _import_readers()
    with Server(answers) as server:
        while line := requests.readline():
            request = parse_json(line, finite=False)
            server.answer(request, requests.read(request["num_bytes"]))


def _import_readers() -> None:
    """Before memory is limited, since imports take it, too."""
    importlib.import_module("vitseg.images.decode")
    with suppress(ImportError):
        importlib.import_module("rasterio")


class Server:
    """Answers requests; the image that it has opened for windows stays open."""

    def __init__(self, answers: BinaryIO):
        self._answers = answers
        self._opened = ExitStack()
        self._source: Any = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def answer(self, request: dict[str, Any], content: bytes) -> None:
        """Do what is asked, and write what comes of it."""
        with suppress(FileNotFoundError):
            os.chdir(as_text(request["folder"]))
        _set_limits(request["seconds"], request["memory"])
        try:
            source = content if request["path"] is None else Path(as_text(request["path"]))
            facts, pixels = getattr(self, f"_{request['call']}")(source, *request["arguments"])
        except VitsegError as error:
            facts, pixels = {"error": coded(str(error))}, None
        except MemoryError:
            facts, pixels = {"no_memory": True}, None
        except Exception as error:
            facts, pixels = {"fault": coded(f"{type(error).__name__}: {error}")}, None
        _set_limits(0, None)
        self._write(facts, pixels)

    def _write(self, facts: dict[str, Any], pixels: np.ndarray | None) -> None:
        if pixels is not None:
            pixels = np.ascontiguousarray(pixels)
            facts |= {"shape": pixels.shape, "type": pixels.dtype.str}
        self._answers.write(json.dumps(facts).encode() + b"\n")
        if pixels is not None:
            self._answers.write(pixels.data)
        self._answers.flush()

    def _decode(
        self,
        source: Path | bytes,
        at_least: list[int] | None,
        max_pixels: int,
        declared: Any,
        placed: bool,
    ) -> tuple[dict[str, Any], np.ndarray]:
        from vitseg.images.reader import decode

        least = None if at_least is None else (at_least[0], at_least[1])
        found = decode(source, least, max_pixels, _read_as(declared), placed)
        facts = {
            "size": found.size,
            "notices": found.notices,
            "values": None if found.values is None else found.values.to_json(),
            "has_alpha": found.has_alpha,
        }
        return facts | _placed(found.georeference, found.valid), _with_gaps(
            found.pixels, found.valid
        )

    def _header(self, source: Path | bytes) -> tuple[dict[str, Any], None]:
        from vitseg.images.header import header_of

        return header_of(source)._asdict(), None

    def _mask(self, source: Path | bytes, max_pixels: int) -> tuple[dict[str, Any], np.ndarray]:
        from vitseg.images.decode import decode_mask

        return {}, decode_mask(source, max_pixels)

    def _colors(self, source: Path | bytes, max_pixels: int) -> tuple[dict[str, Any], np.ndarray]:
        from vitseg.images.decode import decode_color_mask

        return {}, decode_color_mask(source, max_pixels)

    def _layers(self, source: Path | bytes, max_pixels: int) -> tuple[dict[str, Any], np.ndarray]:
        from vitseg.images.decode import decode_layers

        found, places = decode_layers(source, max_pixels), []
        layers = [found.colors]
        for layer in (found.opacity, found.indices):
            places.append(None if layer is None else 2 + len(layers))
            layers += [] if layer is None else [layer[..., None]]
        return {"places": places}, np.concatenate(layers, axis=2)

    def _open(self, source: Path, max_bytes: int, declared: Any) -> tuple[dict[str, Any], None]:
        from vitseg.images.reader import open_windows

        self._source = self._opened.enter_context(
            open_windows(source, max_bytes, _read_as(declared))
        )
        return _placed(self._source.georeference, None) | {
            "size": self._source.size,
            "held_bytes": self._source.held_bytes,
            "has_gaps": self._source.has_gaps,
            "notices": self._source.notices,
        }, None

    def _file_bands(self, source: Path | bytes) -> tuple[dict[str, Any], None]:
        from vitseg.images.band_reader import file_bands

        return file_bands(source)._asdict(), None

    def _bands(
        self, source: Path | bytes, max_pixels: int, chosen: Any, placed: bool
    ) -> tuple[dict[str, Any], np.ndarray]:
        from vitseg.images.band_reader import open_bands

        bands = _read_as(chosen)
        assert isinstance(bands, Bands)
        with open_bands(source, bands, max_pixels=max_pixels, placed=placed) as image:
            values = np.stack(image.read_planes(Window(0, 0, *image.size)), axis=-1)
            valid = valid_of(image) if placed else None
            facts = {"notices": image.notices, **_placed(image.georeference, valid)}
            return facts, _with_gaps(values, valid)

    def _planes(self, _: object, *window: int) -> tuple[dict[str, Any], np.ndarray]:
        return {}, np.stack(self._source.read_planes(Window(*window)))

    def _read(self, _: object, *window: int) -> tuple[dict[str, Any], np.ndarray]:
        return {}, self._source.read(Window(*window))

    def _valid(self, _: object, *window: int) -> tuple[dict[str, Any], np.ndarray | None]:
        return {}, self._source.valid(Window(*window))


def _placed(place: Georeference | None, valid: np.ndarray | None) -> dict[str, Any]:
    return {
        "georeference": None if place is None else place.to_json(),
        "has_gaps": valid is not None,
    }


def _with_gaps(pixels: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Pixels with a further channel, 0 where they hold no data, if there are such."""
    return pixels if valid is None else np.dstack([pixels, valid.astype(pixels.dtype)])


def _read_as(declared: list[float] | str | dict[str, Any] | None) -> Declared | Bands:
    if isinstance(declared, dict):
        return Bands.model_validate(declared)
    if isinstance(declared, str):
        return Unstated[declared]
    return None if declared is None else ValueRange(*declared)


def _set_limits(seconds: float, memory: int | None) -> None:
    """From now on: seconds until the system ends this process (0: none), bytes of memory beyond those that it has."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
    with suppress(ImportError, OSError, ValueError):  # not everywhere is there such a limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        wanted = most if memory is None else pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


if __name__ == "__main__":
    main()
