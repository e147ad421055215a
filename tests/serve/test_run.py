"""The server as a process, within the process of the tests."""

from __future__ import annotations

import signal
import socket
from typing import cast

import pytest

from tests.serve.fake import FakeModels
from tests.serve.raw import connect
from vitseg.errors import ConfigError
from vitseg.serve import run
from vitseg.serve.engine import LocalEngine
from vitseg.serve.jobs import Served
from vitseg.serve.model_process import ModelProcess
from vitseg.serve.settings import ServeSettings


def fake_engine(models: FakeModels) -> LocalEngine:
    return LocalEngine(cast(ModelProcess, models), 4, 0.0)


@pytest.mark.parametrize(("grace", "least", "most"), [(300.0, 250, 300), (0.1, 5, 5)])
def test_answers_that_are_read_get_what_is_left_of_the_grace(monkeypatch, grace, least, most):
    given = []

    async def shutdown(self, sockets=None):
        given.append(self.config.timeout_graceful_shutdown)
        await ordinary(self, sockets)

    ordinary = run._Server.shutdown
    monkeypatch.setattr(run._Server, "shutdown", shutdown)
    settings = ServeSettings(grace=grace, shows_page=False)
    listener = run.bind("127.0.0.1", 0)
    run.serve(
        fake_engine(FakeModels()), settings, listener, lambda: signal.raise_signal(signal.SIGTERM)
    )
    (seconds,) = given
    assert least <= seconds <= most


class Watching(FakeModels):
    """It looks at the port while models are loaded."""

    def __init__(self, port: int):
        super().__init__()
        self.port = port
        self.was_open: bool | None = None
        self.is_closed = False

    def start(self) -> list[Served]:
        self.was_open = is_open(self.port)
        return super().start()

    def close(self) -> None:
        self.is_closed = True
        super().close()


def is_open(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_port_is_open_once_the_models_are_loaded():
    listener = run.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    models = Watching(port)
    seen = []

    def on_ready():
        seen.append(is_open(port))
        signal.raise_signal(signal.SIGTERM)

    run.serve(fake_engine(models), ServeSettings(shows_page=False), listener, on_ready)
    assert (models.was_open, seen) == (False, [True])


@pytest.mark.skipif("sys.platform != 'linux'", reason="others do not bind a port twice")
def test_a_port_that_another_program_has_opened_meanwhile():
    listener = run.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    models = Watching(port)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(
            ConfigError, match=f"--port {port} cannot be used: Address already in use"
        ):
            run.serve(fake_engine(models), ServeSettings(shows_page=False), listener)
    assert models.is_closed
    listener.close()


def test_a_port_in_use_is_told_before_models_are_loaded():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{port} cannot be used: Address already in use"):
            run.bind("127.0.0.1", port)
