"""Servers for the tests of this room, and the check that one still answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.serve.fake import Running, running
from tests.serve.octants import cells_of, pattern, png, write_octants
from tests.serve.raw import SECONDS, segment


def until(is_so: Callable[[], object]) -> None:
    """Wait for something; it fails where that does not come."""
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def require_alive(port: int, seed: int = 1) -> None:
    """The next ordinary request works."""
    cells = pattern(seed)
    answer = segment(port, png(cells))
    assert answer.status == 200, answer.body
    assert np.array_equal(cells_of(answer.body), cells)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Running]:
    """One for all tests of a file that need no other limits."""
    with running(
        max_body=6_000_000, max_pixels=6_000_000, receive_timeout=1.0, send_timeout=1.0
    ) as one:
        yield one


@pytest.fixture
def server(shared_server: Running) -> Iterator[Running]:
    """The shared server; whatever a test did to it, it answers afterwards, and holds nothing."""
    yield shared_server
    require_alive(shared_server.port)
    until(lambda: shared_server.service.admission.requests == 0)
    assert shared_server.service.admission.pixels == 0
    assert shared_server.service.engine.waiting == 0


class Callers:
    """Requests that run beside the test, each in a thread."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self.answers: dict[int, object] = {}

    def call(self, work: Callable[[], object]) -> None:
        number = len(self._threads)

        def keep() -> None:
            try:
                self.answers[number] = work()
            except Exception as error:
                self.answers[number] = error

        thread = threading.Thread(target=keep, daemon=True)
        self._threads.append(thread)
        thread.start()

    def all(self) -> list:
        """What all gave, in the order of their calls."""
        for thread in self._threads:
            thread.join(SECONDS)
        assert len(self.answers) == len(self._threads), "some got no answer"
        for one in self.answers.values():
            if isinstance(one, Exception):
                raise one
        return [self.answers[number] for number in range(len(self._threads))]


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture(scope="session")
def octant_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Model directories by name: octants, and mirror with the opposite corners."""
    folder = tmp_path_factory.mktemp("octants")
    return {
        "octants": str(write_octants(folder / "octants")),
        "mirror": str(write_octants(folder / "mirror", is_mirrored=True)),
    }
