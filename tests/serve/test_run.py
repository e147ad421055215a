"""The server as a process, within the process of the tests."""

from __future__ import annotations

import signal
from typing import cast

import pytest

from tests.serve.fake import FakeModels
from vitseg.serve import run
from vitseg.serve.engine import LocalEngine
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
