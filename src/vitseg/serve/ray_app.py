"""The server as two applications of Ray Serve, for more than one machine.

Requests come to an entrance: the same app as on one machine, with its limits, keys and headers. It decodes, encodes,
and hands images to replicas of the models through a handle, since of a replica that dies Ray answers all requests with
an error: what only a handle awaits can be given to another replica, and its client sees nothing of it.

A replica of the models has the engine of one machine: its batches, deadlines, and a process for the models beside it.
An image that ends this process (by memory, by a fault of the GPU) does not end the replica, nor what waits there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from vitseg.errors import VitsegError
from vitseg.serve.app import create_app
from vitseg.serve.engine import Answered, LocalEngine
from vitseg.serve.jobs import Served, Task
from vitseg.serve.model_process import ModelProcess
from vitseg.serve.places import Hashes, ModelPlaces, require_same
from vitseg.serve.problems import Problem
from vitseg.serve.ray_engine import RayEngine
from vitseg.serve.settings import ServeSettings

ENTRANCE = "vitseg"
MODELS = "vitseg-models"

REFUSED = 200
"""Requests beyond those that are taken, to which the app itself says so; and as many for health and numbers."""

START_ATTEMPTS = 2


@dataclass(frozen=True)
class Scale:
    """How many replicas, and what each has.

    Attributes:
        smallest: Replicas at least.
        largest: At most.
        cpus: Processors of a replica.
        gpus: GPUs of a replica.
    """

    smallest: int = 1
    largest: int = 1
    cpus: int = 1
    gpus: float = 0

    def options(self, ongoing: float) -> dict[str, Any]:
        """Options of a deployment.

        Args:
            ongoing: Requests that a replica has in the mean, where their number follows these.
        """
        if self.smallest == self.largest:
            return {"num_replicas": self.smallest}
        scaling = {"min_replicas": self.smallest, "max_replicas": self.largest}
        return {"autoscaling_config": {**scaling, "target_ongoing_requests": ongoing}}


class Models:
    """A replica of the models; requests come to it once they are loaded.

    Args:
        places: The models.
        settings: How many images are run together.
        switch: A `Switch`, which is told why models cannot be loaded, and knows what the first replica loaded.
    """

    async def __init__(self, places: ModelPlaces, settings: ServeSettings, switch: Any):  # pyright: ignore[reportGeneralTypeIssues]
        process = ModelProcess(places)
        self._engine = LocalEngine(process, settings.max_batch, settings.batch_wait)
        try:
            await self._engine.start()
            known = await switch.first.remote(
                {one.name: one.hashes for one in self._engine.served.values()}
            )
            for name, one in self._engine.served.items():
                require_same(name, places.models[name], one.hashes, known)
        except VitsegError as error:
            await switch.failed.remote(str(error))
            raise

    async def check_health(self) -> None:
        """Have Ray end this replica where its models were exchanged; Ray asks every few seconds."""
        if self._engine.fault:
            raise RuntimeError(self._engine.fault)

    async def served(self) -> list[Served]:
        """The models."""
        return list(self._engine.served.values())

    async def run(self, task: Task, seconds: float) -> Answered | Problem:
        """Have a task done.

        Args:
            task: An image for a model.
            seconds: After which nobody waits for it.
        """
        try:
            return await self._engine.run(replace(task, deadline=time.monotonic() + seconds))
        except Problem as problem:  # as a value: Ray would wrap it
            return problem


class Switch:
    """An actor that tells all entrances when the server ends, and knows which have answered all.

    It also keeps what the first replica of the models loaded: the others are to have the same.
    """

    def __init__(self):
        self._failure = ""
        self._end = asyncio.Event()
        self._there: set[str] = set()
        self._known: dict[str, Hashes] | None = None

    async def first(self, found: dict[str, Hashes]) -> dict[str, Hashes]:
        """Hashes of the models that were loaded first: these, where none were before."""
        if self._known is None:
            self._known = found
        return self._known

    async def failed(self, message: str) -> None:
        """Models cannot be loaded."""
        self._failure = message

    async def failure(self) -> str:
        """Why models cannot be loaded; empty: nothing is known of it."""
        return self._failure

    async def ended(self, entrance: str) -> None:
        """Wait for the end."""
        self._there.add(entrance)
        await self._end.wait()

    async def finished(self, entrance: str) -> None:
        """An entrance has answered all."""
        self._there.discard(entrance)

    async def end(self, seconds: float) -> None:
        """End, and wait until all is answered, or the time is over."""
        self._end.set()
        until = time.monotonic() + seconds
        while self._there and time.monotonic() < until:
            await asyncio.sleep(0.02)


def models(places: ModelPlaces, settings: ServeSettings, scale: Scale, switch: Any) -> Application:
    """The application with the models.

    Args:
        places: The models, at places that every machine can read.
        settings: Limits.
        scale: How many replicas.
        switch: A `Switch`.
    """
    deployment = serve.deployment(
        Models,
        name="Models",
        # one batch runs, another waits
        max_ongoing_requests=2 * settings.max_batch,
        max_queued_requests=settings.max_requests,
        max_constructor_retry_count=START_ATTEMPTS,
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        **_ends(settings),
        **scale.options(settings.max_batch),
    )
    return deployment.bind(places, settings, switch)


def entrance(settings: ServeSettings, scale: Scale, switch: Any) -> Application:
    """The application that requests come to; the models' has to run.

    Args:
        settings: Limits, of every replica of it.
        scale: There are as many as of the models.
        switch: A `Switch`.
    """

    def build() -> FastAPI:
        def drain() -> int:
            admission = app.state.service.admission
            admission.state = "draining"
            return admission.requests

        app = create_app(RayEngine(MODELS, switch, drain), settings)
        return app

    @serve.ingress(build)
    class Entrance:
        pass

    deployment = serve.deployment(
        Entrance,
        name="Entrance",
        max_ongoing_requests=settings.max_requests + 2 * REFUSED,
        max_queued_requests=REFUSED,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        max_constructor_retry_count=START_ATTEMPTS,
        ray_actor_options={"num_cpus": 0},
        **_ends(settings),
        **scale.options(max(1, settings.max_requests // 2)),
    )
    return deployment.bind()


def _ends(settings: ServeSettings) -> dict[str, Any]:
    return {"graceful_shutdown_timeout_s": settings.grace, "graceful_shutdown_wait_loop_s": 0.2}
