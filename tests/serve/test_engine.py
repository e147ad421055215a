"""The queue, with a stand-in for the process of the models."""

import asyncio
import threading
import time

import numpy as np
import pytest

from vitseg.classes import ClassTable
from vitseg.errors import VitsegError
from vitseg.images.preprocess import Preprocessing
from vitseg.serve.engine import LocalEngine
from vitseg.serve.jobs import Failure, Result, Served, Task, batch_key
from vitseg.serve.model_process import EndedError
from vitseg.serve.problems import LateError, UnavailableError, UnusableError

WHOLE = {"mode": "whole"}
SERVED = Served(
    "m",
    "linear",
    "directory",
    ClassTable.from_names(["a", "b"]),
    Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3),
    WHOLE,
    (32, 32),
)


class FakeProcess:
    """Answers with the first pixel of every image; `held` holds it up."""

    def __init__(self):
        self.batches = []
        self.forgotten = []
        self.held = threading.Event()
        self.held.set()
        self.poison = set()
        self.starts = 0
        self.start_errors = 0

    def start(self):
        self.starts += 1
        if self.start_errors:
            self.start_errors -= 1
            raise VitsegError("no such model")
        return [SERVED]

    def ask(self, tasks, seconds):
        self.held.wait(10)
        values = [int(task.pixels[0, 0, 0]) for task in tasks]
        self.batches.append(values)
        if self.poison & set(values):
            raise EndedError("was ended by SIGKILL")
        return [self._outcome(value) for value in values]

    def _outcome(self, value):
        if value == 201:
            return Failure("unusable", "too long")
        if value == 202:
            return Failure("unavailable", "scores are NaN", "a trace")
        return Result(np.full((1, 1), value, np.uint8))

    def forget(self, number):
        self.forgotten.append(number)

    def close(self):
        pass


def task(value, size=(4, 4), seconds=10.0):
    pixels = np.full((*size, 3), value, np.uint8)
    return Task("m", pixels, deadline=time.monotonic() + seconds)


def run(scenario, max_batch=4, batch_wait=0.05):
    process = FakeProcess()
    engine = LocalEngine(process, max_batch, batch_wait)

    async def whole():
        await engine.start()
        try:
            async with asyncio.timeout(20):
                return await scenario(engine, process)
        finally:
            process.held.set()
            await engine.stop()

    return asyncio.run(whole())


def value_of(answered):
    return int(answered.result.labels[0, 0])


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_every_task_gets_its_own_answer_in_batches_of_one_size():
    async def scenario(engine, process):
        process.held.clear()
        sizes = [(4, 4), (4, 5)]
        tasks = [task(value, sizes[value % 2]) for value in range(40)]
        running = [asyncio.ensure_future(engine.run(each)) for each in tasks]
        await until(lambda: engine.waiting >= 36)
        process.held.set()
        return [value_of(await each) for each in running], process.batches

    values, batches = run(scenario)
    assert values == list(range(40))
    assert max(len(batch) for batch in batches) == 4
    assert all(len({value % 2 for value in batch}) == 1 for batch in batches)


def test_an_image_waits_for_those_that_are_expected_and_for_no_others():
    async def scenario(engine, process):
        await engine.run(task(1))
        with engine.expect():
            first = asyncio.ensure_future(engine.run(task(2)))
            await asyncio.sleep(0.01)
            second = asyncio.ensure_future(engine.run(task(3)))
            await asyncio.gather(first, second)
        return process.batches

    assert run(scenario, batch_wait=5.0, max_batch=2) == [[1], [2, 3]]


def test_what_nobody_awaits_is_never_run_and_stopped_where_it_runs():
    async def scenario(engine, process):
        process.held.clear()
        first, second, third = (asyncio.ensure_future(engine.run(task(v))) for v in (1, 2, 3))
        await until(lambda: engine.waiting == 2)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert process.forgotten
        process.held.set()
        assert value_of(await third) == 3
        return process.batches

    assert run(scenario, max_batch=1) == [[1], [3]]


def test_a_deadline_holds_in_the_queue_and_while_the_model_runs():
    async def scenario(engine, process):
        process.held.clear()
        running = asyncio.ensure_future(engine.run(task(1, seconds=0.05)))
        waiting = asyncio.ensure_future(engine.run(task(2, seconds=0.05)))
        for each in (running, waiting):
            with pytest.raises(LateError):
                await each
        process.held.set()
        assert value_of(await engine.run(task(3))) == 3
        return process.batches

    assert [2] not in run(scenario, max_batch=1)


def test_when_the_process_ends_its_tasks_are_run_again_alone_and_the_queue_waits():
    async def scenario(engine, process):
        process.held.clear()
        process.poison = {2}
        running = [asyncio.ensure_future(engine.run(task(value))) for value in (1, 2, 3, 4, 5)]
        await until(lambda: engine.waiting == 1 or process.batches)
        process.held.set()
        results = await asyncio.gather(*running, return_exceptions=True)
        return results, process

    results, process = run(scenario, max_batch=4)
    assert isinstance(results[1], UnavailableError)
    assert [value_of(each) for each in results if not isinstance(each, Exception)] == [1, 3, 4, 5]
    assert process.starts == 3
    assert process.batches.count([2]) == 1


def test_models_that_cannot_be_loaded_again_are_tried_until_they_can():
    async def scenario(engine, process):
        process.poison, process.start_errors = {1}, 1
        with pytest.raises(UnavailableError):
            await engine.run(task(1))
        process.poison = set()
        await until(lambda: engine.is_ready)
        return value_of(await engine.run(task(2)))

    assert run(scenario) == 2


@pytest.mark.parametrize(("value", "problem"), [(201, UnusableError), (202, UnavailableError)])
def test_failures_are_problems_of_their_own_task_alone(value, problem):
    async def scenario(engine, process):
        results = await asyncio.gather(
            engine.run(task(value)), engine.run(task(7)), return_exceptions=True
        )
        assert isinstance(results[0], problem)
        return value_of(results[1])

    assert run(scenario) == 7


def test_images_that_run_at_one_size_have_one_key():
    def served(**inference):
        return Served(
            "m", "linear", "directory", SERVED.classes, SERVED.preprocessing, inference, (32, 32)
        )

    resized = served(resize=(64, 32))
    assert batch_key(resized, (100, 200)) == batch_key(resized, (200, 400)) == ("m", (32, 64))
    assert batch_key(served(), (10, 20)) != batch_key(served(), (20, 10))
    assert batch_key(served(), (4000, 3000)) is None
    assert batch_key(served(flip=True), (10, 20)) is None
    assert batch_key(served(mode="slide", crop_size=(8, 8), stride=(8, 8)), (10, 20)) is None
