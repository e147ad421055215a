"""What is counted so far of a split that is being scored: a file of lines, the first of what it is, then one an image.

Only the end of the file is ever written. Of a process that was killed, or of a full disk, the last line may be cut off;
it is dropped, and its image is counted again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from results import packed, unpacked

from vitseg import parsing
from vitseg.errors import ConfigError
from vitseg.evaluation.evaluate import SampleResult


class Begun:
    """Confusion matrices of the first images of a split, kept in a file after each of them; a context that closes it.

    Args:
        path: The file; remove it once the result is written.
        identity: What the counts are of: plain values.
        num_images: Of the split.
        num_classes: Of each confusion matrix.

    Attributes:
        counts: Of the images so far, each (num_classes, num_classes) by label and prediction.

    Raises:
        ConfigError: The file is damaged, of something else, or in use; it is left as it is.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], num_images: int, num_classes: int):
        self.path = path
        self.counts: list[np.ndarray] = []
        self._minutes = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        self._file = path.open("a", encoding="utf-8")
        try:
            self._lock()
            if is_new and not path.stat().st_size:
                self._write({"identity": identity})
            self._read(json.loads(json.dumps(identity)), num_images, num_classes)
        except BaseException:
            self._file.close()
            raise
        self._started = time.monotonic()

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, sample: SampleResult) -> None:
        """Keep the counts of the next image."""
        images = packed(sample.counts[None], "confusions")
        self._write({"image": len(self.counts), "minutes": self.minutes, "images": images})
        self.counts.append(sample.counts)

    @property
    def minutes(self) -> float:
        """Time spent, that of earlier processes up to their last image included."""
        return round(self._minutes + (time.monotonic() - self._started) / 60, 2)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{self.path} is in use by another process, which scores the same: wait for it, or stop it."
            ) from None

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _read(self, identity: Any, num_images: int, num_classes: int) -> None:
        whole, end, _ = self.path.read_bytes().rpartition(b"\n")
        try:
            head, *lines = map(parsing.parse_json, whole.split(b"\n"))
            if head["identity"] != identity:
                raise ConfigError(
                    f"{self.path} was begun with another model, other data or versions: give another --name, or "
                    "delete it to begin anew. Nothing was changed."
                )
            if [line["image"] for line in lines] != list(range(len(lines))):
                raise ValueError("its images do not follow one another")
            counts = [unpacked(line["images"]) for line in lines]
            if any(of_one.shape != (1, num_classes, num_classes) for of_one in counts):
                raise ValueError(
                    f"a line has not the counts of one image and {num_classes} classes"
                )
            if len(counts) > num_images:
                raise ValueError(f"it has {len(counts)} images, but the split has {num_images}")
            minutes = float(lines[-1]["minutes"]) if lines else 0.0
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.path} is damaged ({type(error).__name__}: {error}): delete it to begin anew."
            ) from error
        os.truncate(self.path, len(whole) + len(end))
        self.counts, self._minutes = [of_one[0] for of_one in counts], minutes
