"""The process of the models as the server sees it, and what becomes of requests when it cannot be started."""

from __future__ import annotations

import asyncio
import errno
import time

import numpy as np
import pytest

from tests.serve import light
from vitseg.errors import VitsegError
from vitseg.serve.engine import LocalEngine
from vitseg.serve.jobs import Task
from vitseg.serve.model_process import EndedError, ModelProcess
from vitseg.serve.places import ChangedError, ModelPlaces
from vitseg.serve.problems import UnavailableError


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.txt"
    file.write_text("first")
    return file


@pytest.fixture
def threads(monkeypatch):
    return light.replace(monkeypatch)


@pytest.fixture
def process(threads, model):
    one = ModelProcess(ModelPlaces({"m": str(model)}, "cpu"))
    yield one
    one.close()


def task(value):
    return Task("m", np.full((4, 4, 3), value, np.uint8), deadline=time.monotonic() + 60)


def value_of(answered):
    return int(answered.result.labels[0, 0])


def in_engine(process, scenario):
    engine = LocalEngine(process, 4, 0.0)

    async def whole():
        await engine.start()
        try:
            async with asyncio.timeout(60):
                return await scenario(engine)
        finally:
            await engine.stop()

    return asyncio.run(whole())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_a_model_that_was_exchanged_is_not_loaded(process, model):
    process.start()
    model.write_text("second")
    with pytest.raises(ChangedError, match=r"model\.txt changed since the server started.*restart"):
        process.start()
    model.write_text("first")
    assert process.start()[0].hashes == {"weights": "first"}


def test_requests_get_no_answer_of_an_exchanged_model(process, model, caplog):
    async def scenario(engine):
        assert value_of(await engine.run(task(1))) == 1
        model.write_text("second")
        for value in (light.POISON, 2, 3):
            with pytest.raises(UnavailableError, match="has to be started anew"):
                await engine.run(task(value))
        assert not engine.is_ready
        assert engine.fault
        model.write_text("first")
        await until(lambda: engine.is_ready)
        assert not engine.fault
        return value_of(await engine.run(task(4)))

    assert in_engine(process, scenario) == 4
    assert str(model) in caplog.text
    assert "restart it" in caplog.text


NO_ROOM = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_a_process_that_cannot_be_started(process, threads):
    threads.start_errors = [NO_ROOM]
    with pytest.raises(VitsegError, match="cannot be started: Resource temporarily unavailable"):
        process.start()
    with pytest.raises(EndedError, match="is not running"):
        process.ask([task(1)], 1.0)
    assert process.start()
    assert process.ask([task(1)], 60.0)
    assert process.starts == 1


def test_a_pipe_that_cannot_be_had(process, threads, monkeypatch):
    def full():
        raise OSError(errno.EMFILE, "Too many open files")

    process.start()
    monkeypatch.setattr(threads, "Pipe", full, raising=False)
    with pytest.raises(VitsegError, match="Too many open files"):
        process.start()
    monkeypatch.undo()
    with pytest.raises(EndedError):
        process.ask([task(1)], 1.0)


def test_a_process_that_was_closed_is_asked_for_nothing(process):
    process.start()
    process.close()
    with pytest.raises(EndedError, match="is not running"):
        process.ask([task(1)], 1.0)


def test_models_come_again_after_a_start_that_failed(process, threads, caplog):
    async def scenario(engine):
        threads.start_errors = [NO_ROOM]
        with pytest.raises(UnavailableError):
            await engine.run(task(light.POISON))
        await until(lambda: engine.is_ready)
        return value_of(await engine.run(task(2)))

    assert in_engine(process, scenario) == 2
    assert "the models cannot be loaded again: the process of the models cannot be" in caplog.text


def test_a_batch_starts_a_process_that_does_not_run(process):
    async def scenario(engine):
        process.close()
        return value_of(await engine.run(task(3)))

    assert in_engine(process, scenario) == 3
