"""The same work on every sample, in other processes, with results in order and memory bounded."""

from __future__ import annotations

import itertools
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from vitseg.errors import DataError
from vitseg.machine import num_cores

CHUNK = 8
"""Samples that a process is given at once."""

_PROCESSES_PER_CORE = 8

_CHUNKS_AHEAD = 4  # per process: enough that none waits for the slowest


Task = TypeVar("Task")
Result = TypeVar("Result")


def most_processes() -> int:
    """Beyond which a number of processes that somebody asks for here is a mistake: each holds a model."""
    return _PROCESSES_PER_CORE * num_cores()


def map_in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """The results of `work` for all tasks, in their order.

    Tasks are drawn and results kept a few chunks ahead only, so that memory does not grow with their number.

    Args:
        work: Function from a task to its result. It is sent to each process once, so it must be picklable.
        tasks: Arguments of `work`: small objects, since each is sent to a process.
        num_workers: Processes; 0: this process does the work.

    Raises:
        DataError: A process was killed from outside.
    """
    if num_workers == 0:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(num_workers, initializer=_start, initargs=(work,))
    waiting: deque[Future[list[Result]]] = deque()
    left = iter(tasks)
    try:
        while chunk := list(itertools.islice(left, CHUNK)):
            waiting.append(pool.submit(_run, chunk))
            if len(waiting) >= _CHUNKS_AHEAD * num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process was killed, perhaps for want of memory: use fewer than {num_workers}, or 0 for none."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_work: Callable[[Any], Any] | None = None  # of a worker process


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers


def _run(chunk: list[Any]) -> list[Any]:
    assert _work is not None
    return [_work(task) for task in chunk]
