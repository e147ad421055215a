"""Labels of an unfinished prediction on disk: raw pixels beside their later file, and a note of how far they go."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Integer

from vitseg import parsing
from vitseg.files import beside
from vitseg.images.window import Window

_OWN = re.compile(
    r"(\..+\.(?:tiff?|png)|\.[0-9a-f]{32})\.partial(?:\.json|\.fresh)?", re.IGNORECASE
)


class LabelSource(Protocol):
    """Labels that are read rectangle by rectangle.

    Attributes:
        size: (height, width) in pixels.
        dtype: Type of the labels.
    """

    size: tuple[int, int]
    dtype: np.dtype

    def read(self, window: Window) -> Integer[np.ndarray, "h w"]:
        """Labels of a rectangle within the image."""
        ...

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Rectangles of at most that size that cover the image, row by row."""
        ...


class LabelArray:
    """Labels in memory, as a `LabelSource`."""

    def __init__(self, labels: Integer[np.ndarray, "H W"]):
        self._labels = labels
        self.size = (labels.shape[0], labels.shape[1])
        self.dtype = labels.dtype

    def read(self, window: Window) -> Integer[np.ndarray, "h w"]:
        top, left, height, width = window
        return self._labels[top : top + height, left : left + width]

    def windows(self, height: int, width: int) -> Iterator[Window]:
        return _windows(self.size, height, width)


class LabelStore:
    """Labels of a large image, written rectangle by rectangle and kept when a run is interrupted.

    Beside `target` lie `.NAME.partial`, the labels row by row without a header, and `.NAME.partial.json`, which says
    which run they belong to and what of it is done. What an earlier run left is taken over if it has the same `run`,
    and replaced otherwise.

    Args:
        target: The file that the labels are for; its folder exists.
        size: (height, width) in pixels.
        dtype: Type of the labels.
        run: Identifies source, model and settings.
    """

    def __init__(self, target: Path, size: tuple[int, int], dtype: np.dtype, run: str):
        self.path = partial_path(target)
        self.size = size
        self.dtype = dtype
        self._run = run
        self._note = note_path(target)
        self._target = target
        self.done = self._earlier()
        if not self.done:
            self.remove()
        self._file = self.path.open("r+b" if self.done else "w+b")
        self._file.truncate(self._num_bytes)

    @property
    def _num_bytes(self) -> int:
        return self.size[0] * self.size[1] * self.dtype.itemsize

    def _earlier(self) -> tuple[int, ...]:
        try:
            note = parsing.read_json(self._note)
            whole = self.path.stat().st_size == self._num_bytes
            return (
                tuple(int(part) for part in note["done"])
                if whole and note["run"] == self._run
                else ()
            )
        except (OSError, ValueError, KeyError, TypeError):  # none there, or cut off while written
            return ()

    def write(self, top: int, left: int, labels: Integer[np.ndarray, "h w"]) -> None:
        """Write a rectangle."""
        labels = np.ascontiguousarray(labels, dtype=self.dtype)
        for row, values in enumerate(labels, start=top):
            self._file.seek((row * self.size[1] + left) * self.dtype.itemsize)
            self._file.write(values.data)

    def mark(self, *done: int) -> None:
        """Note that all written so far counts as done; `done` is what a later run finds."""
        self._file.flush()
        fresh = beside(self._target, ".partial.fresh")
        fresh.write_text(json.dumps({"run": self._run, "done": done}), encoding="utf-8")
        os.replace(fresh, self._note)
        self.done = done

    def read(self, window: Window) -> Integer[np.ndarray, "h w"]:
        """Labels of a rectangle within the image."""
        top, left, height, width = window
        item = self.dtype.itemsize
        labels = np.empty((height, width), dtype=self.dtype)
        for row, values in enumerate(labels, start=top):
            self._file.seek((row * self.size[1] + left) * item)
            values[:] = np.frombuffer(self._file.read(width * item), dtype=self.dtype)
        return labels

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Rectangles of at most that size that cover the image, row by row."""
        return _windows(self.size, height, width)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Delete both files."""
        for path in (self.path, self._note, beside(self._target, ".partial.fresh")):
            path.unlink(missing_ok=True)


def partial_path(target: Path) -> Path:
    """Where the labels of an unfinished `target` lie."""
    return beside(target, ".partial")


def note_path(target: Path) -> Path:
    """Where it is noted what is done of an unfinished `target`."""
    return beside(target, ".partial.json")


def partial_files(folder: Path, kept: Collection[Path]) -> list[Path]:
    """The files of unfinished label maps below a folder, which may not be there.

    Args:
        folder: The folder.
        kept: Targets whose files are left out.
    """
    stay = {partial_path(target) for target in kept}
    names = ((path, _OWN.fullmatch(path.name)) for path in folder.rglob(".*.partial*"))
    return [
        path
        for path, name in names
        if name is not None and path.with_name(f"{name[1]}.partial") not in stay
    ]


def _windows(size: tuple[int, int], height: int, width: int) -> Iterator[Window]:
    for top in range(0, size[0], height):
        for left in range(0, size[1], width):
            yield Window(top, left, min(height, size[0] - top), min(width, size[1] - left))
