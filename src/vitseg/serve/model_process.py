"""The process in which the models run, seen from both sides of the pipe to it.

It ends with the server's own process: the pipe is closed then. Signals are the server's: a Ctrl-C, which a terminal
sends to both, must not end what still has work to finish.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from vitseg.errors import VitsegError
from vitseg.serve.jobs import Failure, Result, Served, Task
from vitseg.serve.places import Hashes, ModelPlaces

if TYPE_CHECKING:
    from vitseg.serve.running import Runner

_log = logging.getLogger("vitseg")

_GONE = 4096
"""Clients that have left and are remembered: more than can wait."""


NICENESS = 10
"""By which the server's own process comes first: it has little to do, and everybody waits for it."""


class EndedError(Exception):
    """The process ended in the middle of a task."""


class ModelProcess:
    """A process with loaded models, which is started anew when it has ended.

    Its methods block; `ask` is called by one thread at a time.

    Args:
        places: The models.
    """

    def __init__(self, places: ModelPlaces):
        self._places = places
        self._context = multiprocessing.get_context("spawn")
        self._gone = self._context.Array("Q", _GONE, lock=False)
        self._gone_at = 0
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()
        self._known: dict[str, Hashes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> list[Served]:
        """Start it, and wait until all models are loaded: from the second time on the same ones.

        Raises:
            VitsegError: A model cannot be loaded; or the process cannot be started, or ended while it loaded them.
            ChangedError: A model is not the one that was loaded first.
        """
        with self._lock:
            self._end()
            try:
                self._process, self._pipe = self._started()
            except OSError as error:
                raise VitsegError(
                    f"the process of the models cannot be started: {error.strerror or error}. Are memory, processes or "
                    "open files at their limit?"
                ) from error
            self.starts += 1
        try:
            answer = self._received(None)
        except EndedError as error:
            raise VitsegError(f"the process that loads the models {error}") from error
        if isinstance(answer, Exception):
            raise answer
        self._known = self._known or {one.name: one.hashes for one in answer}
        return answer

    def ask(self, tasks: Sequence[Task], seconds: float) -> list[Result | Failure]:
        """Have tasks done.

        Args:
            tasks: Images of one model.
            seconds: After these it is taken for hung, and ended.

        Raises:
            EndedError: It ended, or was ended; `start` has to be called.
        """
        pipe = self._pipe
        if pipe is None:
            raise EndedError("is not running")
        try:
            pipe.send(tasks)
        except OSError as error:
            raise EndedError(self._reason()) from error
        return self._received(seconds)

    def forget(self, number: int) -> None:
        """Nobody waits for a task any more; it is stopped before its next window."""
        self._gone[self._gone_at % _GONE] = number
        self._gone_at += 1

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._end()

    def _started(self) -> tuple[BaseProcess, Connection]:
        """A new process, and the pipe to it; raises OSError where the system has no room for them."""
        ours, theirs = self._context.Pipe()
        with theirs:
            process = self._context.Process(
                target=_serve, args=(theirs, self._places, self._gone, self._known), daemon=True
            )
            try:
                process.start()
            except OSError:
                ours.close()
                raise
        return process, ours

    def _received(self, seconds: float | None) -> Any:
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:  # closed by another thread
            raise EndedError("is not running")
        ready = wait([pipe, process.sentinel], seconds)
        if pipe in ready:
            try:
                return pipe.recv()
            except (EOFError, OSError):
                pass
        if not ready:
            process.kill()
            process.join()
            raise EndedError(f"did not answer within {seconds:.0f} s, and was ended")
        raise EndedError(self._reason())

    def _reason(self) -> str:
        process = self._process
        if process is None:
            return "is not running"
        process.join(5)
        code = process.exitcode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def _end(self) -> None:
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(
    pipe: Connection, places: ModelPlaces, gone: Any, known: Mapping[str, Hashes] | None = None
) -> None:
    """What the process does: load all, then one answer for each request, until the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    from vitseg.serve.running import Runner

    try:
        runner = Runner(places, lambda number: number in gone, known)
    except VitsegError as error:
        pipe.send(error)
        return
    pipe.send(runner.served)
    gc.freeze()  # as in the server's own process
    _answer(pipe, runner)
    gc.unfreeze()


def _answer(pipe: Connection, runner: Runner) -> None:
    """Answer every request until the pipe is closed."""
    while True:
        try:
            tasks = pipe.recv()
            outcomes = runner.run(tasks)
            del tasks
            pipe.send(outcomes)
        except (EOFError, OSError):  # the server has ended
            return
        if any(isinstance(each, Failure) and "CUDA error" in each.detail for each in outcomes):
            os._exit(1)  # a context with an error answers nothing more
        del outcomes
