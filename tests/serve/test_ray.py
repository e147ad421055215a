"""The server by Ray Serve: replicas that die, more requests than fit, the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.serve import process_tree
from tests.serve.clients import Marked, Seen, ask, in_parallel, marked_images, png
from tests.tiny import photo, write_model

pytestmark = [pytest.mark.slow, pytest.mark.long]

CLIENTS, EACH = 8, 12


class Server:
    """`vitseg serve --engine ray` in a process of its own."""

    def __init__(self, folder: Path, model: Path, *options: str):
        folder.mkdir()
        self._output = folder / "output"
        own = ["serve", f"tiny={model}", "--engine", "ray", "--port", "0", "--device", "cpu"]
        environment = {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
        environment.pop("RAY_ADDRESS", None)
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vitseg", *own, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self.url = ""

    def wait_until_ready(self) -> None:
        for _ in range(2400):
            lines = self.output().splitlines()
            ready = [line for line in lines if line.startswith("serving ")]
            if ready:
                self.url = ready[0].rpartition(" ")[2]
                return
            assert self.process.poll() is None, self.output()
            time.sleep(0.1)
        raise AssertionError(self.output())

    def output(self) -> str:
        return self._output.read_text()

    def processes(self, title: str = "") -> list[process_tree.Listed]:
        return [one for one in process_tree.below(self.process.pid) if title in one.title]

    def replicas(self, application: str) -> list[process_tree.Listed]:
        return [one for one in self.processes(f":{application}:") if one.title.startswith("ray::")]

    def close(self) -> None:
        process_tree.end_all(self.processes())
        self.process.wait()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def images(model) -> list[Marked]:
    return marked_images(model, 8)


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("ray") / "home"
    started = Server(
        folder,
        model,
        "--replicas",
        "2",
        "--max-requests",
        "6",
        "--max-batch",
        "2",
        "--timeout",
        "120",
    )
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.close()


def answered_with_a_death(
    server: Server, images: list[Marked], killed: process_tree.Listed
) -> tuple[list[Seen], list[int]]:
    """What clients see while a process is killed in the middle of their requests, and all statuses."""
    seen, pool, running = in_parallel(server.url, images, CLIENTS, EACH)
    while sum(one.answers for one in seen) < CLIENTS:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    wait(running)
    pool.shutdown()
    for one in running:
        one.result()
    assert not process_tree.is_alive(killed)
    return seen, [status for one in seen for status in one.statuses]


def wait_for_replicas(server: Server, application: str) -> None:
    for _ in range(1200):
        if len(server.replicas(application)) == 2:
            return
        time.sleep(0.1)
    raise AssertionError(server.output())


def test_a_process_of_the_models_that_is_killed_loses_no_request(server, images):
    killed, _ = server.processes("multiprocessing.spawn")
    seen, statuses = answered_with_a_death(server, images, killed)

    assert [one.answers for one in seen] == [EACH] * CLIENTS
    assert [one.wrong for one in seen] == [[]] * CLIENTS
    assert set(statuses) <= {200, 429}
    assert len(server.replicas("vitseg-models")) == 2


def test_a_replica_of_the_models_that_is_killed_loses_no_request(server, images):
    killed, _ = server.replicas("vitseg-models")
    seen, statuses = answered_with_a_death(server, images, killed)

    assert [one.answers for one in seen] == [EACH] * CLIENTS
    assert [one.wrong for one in seen] == [[]] * CLIENTS
    assert statuses.count(200) == CLIENTS * EACH
    assert set(statuses) <= {200, 429}
    wait_for_replicas(server, "vitseg-models")


def test_an_entrance_that_is_killed_leaves_errors_which_clients_try_again(server, images):
    killed, _ = server.replicas("vitseg")
    seen, statuses = answered_with_a_death(server, images, killed)

    assert [one.answers for one in seen] == [EACH] * CLIENTS
    assert [one.wrong for one in seen] == [[]] * CLIENTS
    assert statuses.count(200) == CLIENTS * EACH
    assert set(statuses) <= {200, 429, 500, 503}
    wait_for_replicas(server, "vitseg")


def test_more_than_fits_is_refused(server, images):
    with ThreadPoolExecutor(40) as pool:
        found = list(
            pool.map(lambda number: ask(server.url, images[number % 8].content), range(120))
        )

    refused = [(content, headers) for status, content, headers in found if status == 429]
    assert {status for status, _, _ in found} == {200, 429}
    assert refused
    assert all(headers["Retry-After"] == "1" for _, headers in refused)
    assert all(b"6 requests wait already" in content for content, _ in refused)


def test_the_app_is_the_one_of_one_machine(server):
    with urllib.request.urlopen(f"{server.url}/v1/models", timeout=60) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert b'"default":"tiny"' in answer.read()
    status, content, headers = ask(server.url, b"no image")
    assert status == 415
    assert b'{"error":"this is no image' in content
    assert headers["X-Frame-Options"] == "DENY"
    status, content, _ = ask(server.url, bytes(32_000_001))
    assert status == 413
    assert b"at most 32,000,000 are taken" in content


def test_the_end_is_in_order(server):
    every = server.processes()
    assert len(every) > 8
    long = png(photo(1600, 2400))  # in thousands of windows
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):  # on a fast machine it may be over before it is seen
            running = pool.submit(ask, server.url, long, 120)
            while not running.done() and not is_in_progress(server):
                time.sleep(0.02)
            if not running.done():
                break
        server.process.send_signal(signal.SIGTERM)
        assert running.result()[0] == 200
    assert server.process.wait(120) == 0, server.output()
    for _ in range(100):
        left = [one for one in every if process_tree.is_alive(one)]
        if not left:
            break
        time.sleep(0.1)
    assert left == []


def is_in_progress(server: Server) -> bool:
    """Whether the entrance that answers has a request in."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        return b"vitseg_requests_in_progress 1.0" in answer.read()
