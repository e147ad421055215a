"""Models in replicas of Ray Serve, as an engine: a request that a replica dies with goes to another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from vitseg.serve.engine import Answered, before
from vitseg.serve.jobs import Served, Task
from vitseg.serve.problems import BusyError, Problem, UnavailableError

_log = logging.getLogger("vitseg")

ATTEMPTS = 3
"""Replicas that a request is given to, where one after the other dies with it."""


class RayEngine:
    """Hands tasks to the replicas of an application. Segmenting twice does no harm, so a lost task is given again.

    Args:
        application: Name of the application whose replicas have the models.
        switch: The actor that says when the server ends.
        on_end: Called then; returns the number of requests that are in.
    """

    def __init__(self, application: str, switch: Any, on_end: Callable[[], int]):
        self.served: Mapping[str, Served] = {}
        self.is_ready = False
        self.fault = ""  # replicas have theirs, and Ray starts them anew
        self.waiting = 0
        self._application, self._switch, self._on_end = application, switch, on_end
        self._models: Any = None
        self._watch: asyncio.Task[None] | None = None

    @contextmanager
    def expect(self) -> Iterator[None]:
        yield  # a replica runs together what waits there

    async def start(self) -> None:
        self._models = serve.get_app_handle(self._application)
        self.served = {one.name: one for one in await self._models.served.remote()}
        self._watch = asyncio.create_task(self._until_end())
        self.is_ready = True

    async def run(self, task: Task) -> Answered:
        arrived = time.monotonic()
        self.waiting += 1
        try:
            async with before(task.deadline):
                found = await self._run(task)
        finally:
            self.waiting -= 1
        return Answered(found.result, time.monotonic() - arrived - found.result.forward)

    async def stop(self) -> None:
        self.is_ready = False
        if self._watch is not None:
            self._watch.cancel()

    async def _run(self, task: Task) -> Answered:
        for _ in range(ATTEMPTS):
            # clocks of machines differ: what is sent is how long there is
            seconds = task.deadline - time.monotonic()
            response = self._models.run.remote(replace(task, deadline=float("inf")), seconds)
            try:
                found: Answered | Problem = await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except BackPressureError as error:
                raise BusyError("too many images wait for the models: try again later.") from error
            except (RayActorError, RayServeException) as error:
                _log.warning(
                    "a replica of the models was lost, its task goes to another: %s", error
                )
                continue
            if isinstance(found, Problem):
                raise found
            return found
        raise UnavailableError(f"{ATTEMPTS} replicas of the models ended on this image.")

    async def _until_end(self) -> None:
        """Wait until the server ends, then until the requests that are in have been answered."""
        own = serve.get_replica_context().replica_id.unique_id
        try:
            await self._switch.ended.remote(own)
            while self._on_end():
                await asyncio.sleep(0.02)
            await self._switch.finished.remote(own)
        except RayActorError:
            _log.warning("the process that started this server is gone; the server goes on")
