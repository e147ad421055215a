"""A process of the models without models, which is a thread: a model is a text file, which is its own hash."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.octants import CLASSES, CROP, PREPROCESSING
from vitseg.serve import model_process
from vitseg.serve.jobs import Result, Served
from vitseg.serve.places import ChangedError, require_same

POISON = 66
"""Red of the first pixel of an image on which the process ends."""


class Threads:
    """Instead of a context of multiprocessing."""

    Pipe = staticmethod(multiprocessing.Pipe)
    Array = staticmethod(multiprocessing.Array)

    def __init__(self) -> None:
        self.start_errors: list[OSError] = []

    def Process(self, **options: Any) -> _Thread:
        return _Thread(self.start_errors, **options)


class _Thread:
    exitcode, pid = 3, 1

    def __init__(self, errors: list[OSError], target: Any, args: Any, daemon: bool):
        self._errors, self._target = errors, target
        pipe, *others = args
        # the server closes its own
        self._args = (Connection(os.dup(pipe.fileno())), *others)
        self._thread = threading.Thread(target=self._run, daemon=daemon)
        self.sentinel, self._ending = multiprocessing.Pipe(duplex=False)

    def start(self) -> None:
        if self._errors:
            raise self._errors.pop()
        self._thread.start()

    def _run(self) -> None:
        try:
            self._target(*self._args)
        except EOFError:
            pass
        finally:
            self._args[0].close()
            self._ending.close()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        assert not self.is_alive()
        self.sentinel.close()


def serve(pipe: Any, places: Any, gone: Any, known: Any = None) -> None:
    served = []
    for name, place in places.models.items():
        found = {"weights": Path(place).read_text()}
        if known is not None:
            try:
                require_same(name, place, found, known)
            except ChangedError as error:
                pipe.send(error)
                return
        one = Served(name, "linear", "directory", CLASSES, PREPROCESSING, {}, CROP, hashes=found)
        served.append(one)
    pipe.send(served)
    while True:
        tasks = pipe.recv()
        if any(task.pixels[0, 0, 0] == POISON for task in tasks):
            return
        pipe.send([Result(np.full((1, 1), task.pixels[0, 0, 0])) for task in tasks])


def replace(patch: pytest.MonkeyPatch) -> Threads:
    """Have every `ModelProcess` be of this kind."""
    threads = Threads()
    patch.setattr(model_process, "_serve", serve)
    patch.setattr(model_process.multiprocessing, "get_context", lambda kind: threads)
    return threads
