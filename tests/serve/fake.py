"""The server without a model's process: the same app, queue and protocol, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import uvicorn
from fastapi import FastAPI

from tests.serve.octants import CLASSES, CROP, PREPROCESSING
from vitseg.serve import run
from vitseg.serve.app import create_app
from vitseg.serve.engine import LocalEngine
from vitseg.serve.jobs import Failure, Result, Served, Task
from vitseg.serve.model_process import ModelProcess
from vitseg.serve.settings import ServeSettings


class FakeModels:
    """Instead of `ModelProcess`: two models of octants, of which the second gives the opposite corner.

    Attributes:
        gate: Nothing is answered while it is closed.
        began: A batch has come.
        asked: Labels of the first pixel of every task that was run.
        batches: Sizes of the batches.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.asked: list[int] = []
        self.batches: list[int] = []
        self.gone: set[int] = set()

    def start(self) -> list[Served]:
        protocol = {"mode": "whole"}
        return [
            Served(name, "linear", "directory", CLASSES, PREPROCESSING, protocol, CROP)
            for name in ("octants", "mirror")
        ]

    def ask(self, tasks: Sequence[Task], seconds: float) -> list[Result | Failure]:
        self.began.set()
        assert self.gate.wait(60)
        self.batches.append(len(tasks))
        found = [octants(task.pixels) for task in tasks]
        self.asked += [int(labels[0, 0]) for labels in found]
        return [
            Result(7 - labels if task.model == "mirror" else labels, np.full_like(labels, 255))
            for task, labels in zip(tasks, found, strict=True)
        ]

    def forget(self, number: int) -> None:
        self.gone.add(number)

    def close(self) -> None:
        self.gate.set()


def octants(pixels: np.ndarray) -> np.ndarray:
    bits = (pixels > 127).astype(np.uint8)
    return bits[..., 0] | bits[..., 1] << 1 | bits[..., 2] << 2


class Running:
    """A server that runs.

    Attributes:
        port: Where.
        models: What answers.
        app: The app; `app.state.service` counts.
        http: What holds the connections.
    """

    def __init__(self, port: int, models: FakeModels, app: FastAPI, http: uvicorn.Server):
        self.port, self.models, self.app, self.http = port, models, app, http

    @property
    def service(self) -> Any:
        return self.app.state.service


@contextmanager
def running(**settings: Any) -> Iterator[Running]:
    """A server with some settings changed, until the block ends."""
    allowed = ServeSettings(**{"shows_page": False, **settings})
    models = FakeModels()
    engine = LocalEngine(cast(ModelProcess, models), allowed.max_batch, allowed.batch_wait)
    app = create_app(engine, allowed)
    listener = run.bind("127.0.0.1", 0)
    server = run._Server(run._config(app, allowed))
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            asyncio.run(server.serve(sockets=[listener]))
        except BaseException as error:
            failures.append(error)

    port = listener.getsockname()[1]
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield Running(port, models, app, server)
    finally:
        models.gate.set()
        server.should_exit = True
        thread.join(60)
    assert not failures, failures
    assert not thread.is_alive()
