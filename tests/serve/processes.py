"""Servers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

SECONDS = 120.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class Process:
    """A server, and all that it has started.

    Attributes:
        own: The process.
        port: Once it is ready.
        models: Id of the process of the models.
        lines: What it has printed.
    """

    def __init__(self, own: subprocess.Popen[str], log: Path):
        self.own, self._log = own, log
        self.port = self.models = 0
        self.lines: list[str] = []

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, word: str) -> str:
        """The next line with a word."""
        assert self.own.stdout is not None
        for line in self.own.stdout:
            self.lines.append(line)
            if word in line:
                return line
        raise AssertionError(f"it ended: {self.lines} {self.log}")

    def wait_until_ready(self) -> None:
        _, port, models = self.wait_for("ready").split()
        self.port, self.models = int(port), int(models)

    def family(self) -> list[psutil.Process]:
        """It and its children, as they are now."""
        own = psutil.Process(self.own.pid)
        return [own, *own.children(recursive=True)]

    def send(self, number: int) -> None:
        self.own.send_signal(number)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self.own.wait(SECONDS)


def none_left(processes: Sequence[psutil.Process]) -> bool:
    """Whether all have ended."""
    gone, alive = psutil.wait_procs(processes, SECONDS)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def started(command: Sequence[str], log: Path, **environment: str) -> Iterator[Process]:
    """A process that is ended with the block, with all of its children."""
    with log.open("w") as errors:
        own = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**ENVIRONMENT, **environment},
        )
    process = Process(own, log)
    family: list[psutil.Process] = []
    try:
        yield process
        with suppress(psutil.NoSuchProcess):
            family = process.family()
    finally:
        with suppress(psutil.NoSuchProcess):
            family = family or process.family()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        own.wait(SECONDS)
        assert own.stdout is not None
        own.stdout.close()


@contextmanager
def launched(models: dict[str, str], folder: Path, **settings: Any) -> Iterator[Process]:
    """A server with models that fail where they are asked to, see `faulty`; not ready yet."""
    record = folder / "record.txt"
    record.write_text("")
    asked = {"models": models, "settings": settings, "record": str(record)}
    command = ["-m", "tests.serve.launch", json.dumps(asked)]
    with started(command, folder / "log.txt") as process:
        yield process


def runs(folder: Path) -> int:
    """Images that the models were run on."""
    return len((folder / "record.txt").read_text().splitlines())
