"""A server in a thread of the tests, with tiny models in the same process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from vitseg.serve.app import create_app
from vitseg.serve.engine import Answered
from vitseg.serve.jobs import Failure, Served, Task
from vitseg.serve.places import ModelPlaces
from vitseg.serve.problems import UnavailableError
from vitseg.serve.run import bind
from vitseg.serve.running import Runner
from vitseg.serve.service import Service
from vitseg.serve.settings import ServeSettings


class InProcess:
    """An engine without a process and without a queue."""

    def __init__(self, models: Mapping[str, Path]):
        self.runner = Runner(ModelPlaces({name: str(path) for name, path in models.items()}, "cpu"))
        self.served: Mapping[str, Served] = {one.name: one for one in self.runner.served}
        self.is_ready = True
        self.fault = ""
        self.waiting = 0
        self.tasks: list[Task] = []

    def expect(self):
        return nullcontext()

    async def start(self) -> None:
        pass

    async def run(self, task: Task) -> Answered:
        self.tasks.append(task)
        (found,) = await asyncio.to_thread(self.runner.run, [task])
        if isinstance(found, Failure):
            raise UnavailableError(found.message)
        return Answered(found, 0.0)

    async def stop(self) -> None:
        pass


@dataclass
class Running:
    port: int
    engine: InProcess
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_models(models: Mapping[str, Path], **settings) -> Iterator[Running]:
    """A server on a free port."""
    engine = InProcess(models)
    app = create_app(engine, ServeSettings(shows_page=False, **settings))
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Running(listener.getsockname()[1], engine, app.state.service)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
