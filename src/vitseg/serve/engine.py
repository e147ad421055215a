"""What answers: a queue of images, of which those of one size go to the models together."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from vitseg.errors import VitsegError
from vitseg.serve.jobs import Failure, Result, Served, Task, batch_key
from vitseg.serve.model_process import EndedError, ModelProcess
from vitseg.serve.places import ChangedError
from vitseg.serve.problems import LateError, Problem, UnavailableError, UnusableError
from vitseg.types import Size

_log = logging.getLogger("vitseg")

HUNG = 60.0
"""Seconds beyond the deadline of its tasks after which the process of the models is ended."""

CHANGED = "the models were exchanged since the server started, which has to be started anew."

LATE = "the time of the request is over: send a smaller image, or allow more time."


@asynccontextmanager
async def before(deadline: float) -> AsyncIterator[None]:
    """Within it, work ends by a deadline.

    Args:
        deadline: In seconds of `time.monotonic`.

    Raises:
        LateError: It did not.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError:
        raise LateError(LATE) from None


@dataclass(frozen=True)
class Answered:
    """A result, and how long its task waited in the queue, in seconds."""

    result: Result
    waited: float


class Engine(Protocol):
    """Runs tasks; one that nobody awaits any more (its caller is cancelled) is dropped."""

    @property
    def served(self) -> Mapping[str, Served]:
        """The models, by name; the first is the one that is run where none is named."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether models are loaded."""
        ...

    @property
    def fault(self) -> str:
        """Why nothing but a new start of the server helps, for clients; empty: it need not be started anew."""
        ...

    @property
    def waiting(self) -> int:
        """Tasks in the queue."""
        ...

    def expect(self) -> AbstractContextManager[None]:
        """Around the decoding of an image, which will be a task soon."""
        ...

    async def start(self) -> None:
        """Load the models; raises VitsegError where that cannot be done."""
        ...

    async def run(self, task: Task) -> Answered:
        """Have a task done; raises a `Problem` where there is no result."""
        ...

    async def stop(self) -> None:
        """End, without waiting for anything."""
        ...


@dataclass(eq=False)
class _Job:
    task: Task
    key: tuple[str, Size] | None
    future: asyncio.Future[Answered]
    arrived: float
    is_retry: bool = False


class LocalEngine:
    """Models in a process of their own on this machine.

    Args:
        process: That process.
        max_batch: Images that are run together at most.
        batch_wait: Seconds that an image waits for others that are expected.
    """

    def __init__(self, process: ModelProcess, max_batch: int, batch_wait: float):
        self.process = process
        self.served: Mapping[str, Served] = {}
        self.is_ready = False
        self.fault = ""
        self._expected = 0
        self._max_batch, self._batch_wait = max_batch, batch_wait
        self._queue: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._numbers = itertools.count(1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._loop: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @contextmanager
    def expect(self) -> Iterator[None]:
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    async def start(self) -> None:
        await self._load()
        self._loop = asyncio.create_task(self._work())

    async def run(self, task: Task) -> Answered:
        if self.fault:
            raise UnavailableError(self.fault)
        task = replace(task, number=next(self._numbers))
        size = task.pixels.shape[0], task.pixels.shape[1]
        key = None if task.view is not None else batch_key(self.served[task.model], size)
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        job = _Job(task, key, future, time.monotonic())
        self._queue.append(job)
        self._arrived.set()
        try:
            async with before(task.deadline):
                return await future
        finally:
            if not future.done() or future.cancelled():
                self.process.forget(task.number)
            if job in self._queue:
                self._queue.remove(job)

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
        self.is_ready = False
        await asyncio.to_thread(self.process.close)
        self._thread.shutdown(wait=False)

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        served = await loop.run_in_executor(self._thread, self.process.start)
        self.served = {one.name: one for one in served}
        self.is_ready, self.fault = True, ""

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                try:
                    await self._run(batch)
                except Exception:
                    _log.exception("a batch could not be run")
                    self._fail(batch, UnavailableError("the model failed on this image"))

    async def _next_batch(self) -> list[_Job]:
        """The job that waits longest, with others of its key."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        first = self._queue.popleft()
        if not self._is_wanted(first):
            return []
        batch = [first]
        if first.key is None or first.is_retry or self._max_batch == 1:
            return batch
        until = time.monotonic() + self._batch_wait
        while True:
            self._collect(batch)
            left = until - time.monotonic()
            if len(batch) >= self._max_batch or left <= 0 or self._expected <= 0:
                return batch
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                pass

    def _collect(self, batch: list[_Job]) -> None:
        """Move jobs of the batch's key from the queue into it, in their order."""
        for job in list(self._queue):
            if len(batch) >= self._max_batch:
                return
            if job.key == batch[0].key and not job.is_retry:
                self._queue.remove(job)
                if self._is_wanted(job):
                    batch.append(job)

    def _is_wanted(self, job: _Job) -> bool:
        if job.future.done():
            return False
        if time.monotonic() > job.task.deadline:
            job.future.set_exception(LateError(LATE))
            return False
        return True

    async def _run(self, batch: list[_Job]) -> None:
        started = time.monotonic()
        tasks = [job.task for job in batch]
        last = max(task.deadline for task in tasks)
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(
                self._thread, self.process.ask, tasks, last - started + HUNG
            )
        except EndedError as error:
            _log.error("the process of the models %s; it is started anew", error)
            self._after_end(batch)
            await self._restart()
            return
        for job, outcome in zip(batch, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Failure):
                if outcome.detail:
                    _log.error("%s\n%s", outcome.message, outcome.detail)
                job.future.set_exception(_problem(outcome))
            else:
                job.future.set_result(Answered(outcome, started - job.arrived))

    def _after_end(self, batch: list[_Job]) -> None:
        """Those of a batch in which the process ended are run once more, each alone, before all others."""
        for job in reversed(batch):
            if job.is_retry:
                self._fail([job], UnavailableError("the model's process ended on this image."))
            elif not job.future.done():
                job.is_retry = True
                self._queue.appendleft(job)
        self._arrived.set()

    async def _restart(self) -> None:
        """Load the models again; while that fails, try again, ever more seldom."""
        self.is_ready = False
        pause = 0.5
        while True:
            try:
                await self._load()
                return
            except VitsegError as error:
                _log.error("the models cannot be loaded again: %s", error)
                self.fault = CHANGED if isinstance(error, ChangedError) else ""
                problem = UnavailableError(self.fault or "the models cannot be loaded.")
                self._fail(list(self._queue), problem)
                self._queue.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, 30.0)

    @staticmethod
    def _fail(jobs: list[_Job], problem: Problem) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(problem)


def _problem(failure: Failure) -> Problem:
    if failure.kind == "unusable":
        return UnusableError(failure.message)
    if failure.kind == "unavailable":
        return UnavailableError(failure.message)
    return LateError(LATE)
