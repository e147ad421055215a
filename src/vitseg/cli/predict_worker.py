"""A worker of `vitseg predict --engine ray`: an actor that holds the model, and writes the files of the images it gets.

A process that is killed, by the system for want of memory say, takes nothing with it but the image that it was at: Ray
starts another, which gets the same images again. An image that ends one worker after the other must not go on so: the
ledger counts, and outlives them.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import ray
from rich.progress import Progress

from vitseg.cli.member import failure_of
from vitseg.cli.predict_image import ImageWriter, Outcome
from vitseg.cli.predict_tiles import Tiling
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.inference.record import PredictionRecord
from vitseg.inference.targets import Content, Target, read_all
from vitseg.parsing import UnreadableError, read_json
from vitseg.runs import PREDICT_SETTINGS

COLUMN = "pickled"
"""Of the rows that go between the driver, what reads, and the workers."""

LOADS = 3
"""Times that each of the workers may end while it loads the model, one after the other, before the run is given up; and
that a process may end while it reads."""


@dataclass(frozen=True)
class Job:
    """What each worker is told.

    Attributes:
        model: Directory or exported file.
        device: "cpu" or "cuda"; "auto" until it is known what there is.
        protocol: Changes of the model's protocol.
        value_range: Black and white of more than 8 bits.
        dtype: Numbers.
        tiling: When and how images are run in tiles.
        out: The folder of the predictions.
        settings: What the predictions depend on; they are in that folder, too.
        folder: That paths are relative to.
        threads: That a forward pass may use.
        most_loads: Times in a row that loading the model may end a worker.
    """

    model: Path
    device: str
    protocol: tuple[str, ...]
    value_range: tuple[float, float] | None
    dtype: Literal["fp32", "bf16"]
    tiling: Tiling
    out: Path
    settings: Mapping[str, Any]
    folder: str = field(default_factory=os.getcwd)
    threads: int = 1
    most_loads: int = LOADS


class Ledger:
    """An actor that knows what the workers are at, so that one that ends is known by what it was at."""

    def __init__(self):
        self._begun: Counter[str] = Counter()
        self._loads = 0

    def begin(self, image: str, most: int) -> tuple[int, bool]:
        """An image is begun, unless too many workers have ended in the middle of it.

        Returns:
            How many have, and whether it is begun.
        """
        before = self._begun[image]
        if before >= most:
            return before, False
        self._begun[image] += 1
        return before, True

    def end(self, image: str) -> None:
        """A worker has come to the end of an image."""
        self._begun.pop(image, None)

    def load(self) -> int:
        """A worker begins to load the model; returns how many have since the last one that had it."""
        self._loads += 1
        return self._loads

    def loaded(self) -> None:
        """A worker has the model."""
        self._loads = 0


class Worker:
    """Segments images. The model is loaded for the first: what goes wrong with it is then told like all else.

    Args:
        job: What is to be done.
        ledger: The `Ledger`.
        most: Workers that may end in the middle of an image.
    """

    def __init__(self, job: Job, ledger: Any, most: int):
        self._job, self._ledger, self._most = job, ledger, most
        self._writer: ImageWriter | None = None
        self._bars = Progress(disable=True)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """What comes of each image of a batch, or an error that none of them can be the reason of."""
        for item in batch[COLUMN]:
            target, content = pickle.loads(item)
            yield row_of(self._answer(target, content))

    def _answer(self, target: Target, content: Content) -> Outcome | Exception:
        with _kept() as said:
            if self._writer is None:
                try:
                    self._writer = self._load()
                except Exception as error:
                    return _sendable(error)
            losses, is_begun = ray.get(self._ledger.begin.remote(target.image, self._most))
            if not is_begun:
                return given_up(target, losses)
            outcome = self._writer.outcome(target, content, self._bars)
        if outcome.failure is not None and "CUDA error" in outcome.failure.line:
            os._exit(1)  # a context with an error runs nothing more; another process may
        self._ledger.end.remote(target.image)
        return replace(outcome, said=tuple(said), losses=losses)

    def _load(self) -> ImageWriter:
        job = self._job
        loads = cast(int, ray.get(self._ledger.load.remote()))
        if loads > job.most_loads:
            raise VitsegError(
                f"{loads - 1} workers in a row ended while they loaded the model, most likely for want of memory: give "
                "fewer --workers, or machines with more of it."
            )
        _go_to(job)
        import torch

        from vitseg.inference.predictor import load

        torch.set_num_threads(job.threads)
        predictor = load(job.model, job.device, job.protocol, job.value_range, job.dtype)
        self._ledger.loaded.remote()
        return ImageWriter(predictor, job.tiling, job.out, job.settings)


def given_up(target: Target, losses: int) -> Outcome:
    """What comes of an image that is tried no more, since workers ended in the middle of it."""
    error = VitsegError(
        f"{target.image}: {losses} workers ended in the middle of it, one after the other, for want of memory "
        "or by a fault of the GPU. vitseg predict --tiles runs images in parts, and --max-memory bounds what it takes."
    )
    failure = failure_of(error, target.image)
    record = PredictionRecord(image=target.image, error=failure.reason).timed(0.0)
    return Outcome(record, failure, losses=losses, is_given_up=True)


def read_piece(
    batch: Mapping[str, np.ndarray], ledger: Any, folder: str
) -> Iterator[dict[str, np.ndarray]]:
    """Read the images of pieces for the workers; what cannot be read goes on as an error of its own.

    Args:
        batch: Rows of lists of targets.
        ledger: The `Ledger`.
        folder: That paths are relative to.
    """
    for item in batch[COLUMN]:
        piece: list[Target] = pickle.loads(item)
        place = f"reading {piece[0].image}"
        losses, is_begun = ray.get(ledger.begin.remote(place, LOADS))
        reason = f"{losses} processes ended as they read it"
        try:
            os.chdir(folder)
        except OSError as error:
            is_begun, reason = False, f"{error.strerror} on a machine of the cluster: {folder}"
        if is_begun:
            for target, content in read_all(piece):
                yield row_of((target, content))
        else:
            for target in piece:
                yield row_of((target, DataError(f"{target.image} cannot be read: {reason}.")))
        if losses < LOADS:
            ledger.end.remote(place)


def row_of(*items: Any) -> dict[str, np.ndarray]:
    """Rows of one column, which holds anything."""
    column = np.empty(len(items), dtype=object)
    column[:] = [pickle.dumps(item) for item in items]
    return {COLUMN: column}


def _go_to(job: Job) -> None:
    """Be where the command was given; see that this machine has the same folders and the same package.

    Raises:
        ConfigError: It has not.
    """
    from vitseg.cli.predict import model_settings

    machine = ray.util.get_node_ip_address()
    try:
        os.chdir(job.folder)
        there = read_json(job.out / PREDICT_SETTINGS)
    except (OSError, UnreadableError) as error:
        raise ConfigError(
            f"a worker on {machine} does not see --out {job.out} ({error}): images, model and --out have to be in "
            "storage that all machines of the cluster have at the same path."
        ) from error
    own = model_settings(job.model, job.protocol)
    for name, value in own.items():
        if value != job.settings[name] or there.get(name) != value:
            raise ConfigError(
                f"a worker on {machine} has another {name} than the command: all machines of the cluster need the same."
            )


@contextmanager
def _kept() -> Iterator[list[logging.LogRecord]]:
    """Within it, what is logged is kept, for the command to log it."""
    said: list[logging.LogRecord] = []
    handler = _Keeping(said)
    log = logging.getLogger("vitseg")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    yield said


class _Keeping(logging.Handler):
    def __init__(self, said: list[logging.LogRecord]):
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record so that it can be sent; the numbers in it stay numbers."""
        record.exc_info = None
        values = record.args if isinstance(record.args, tuple) else ()
        record.args = tuple(
            value if isinstance(value, int | float) else str(value) for value in values
        )
        self._said.append(record)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
