"""A server with its process of models, which fails, is ended, and comes again."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import psutil
import pytest

from tests.serve import faulty
from tests.serve.conftest import require_alive, until
from tests.serve.octants import cells_of, encoded, labels_of, pattern, picture, png
from tests.serve.processes import launched, runs
from tests.serve.raw import Answers, connect, head, request, segment

pytestmark = pytest.mark.slow  # starting models takes seconds, every time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def started_server(octant_models, folder):
    with launched(octant_models, folder, timeout=100, max_requests=300) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def live(started_server):
    """It, and the check that it answers afterwards."""
    yield started_server
    require_alive(started_server.port)


def model_pid(process):
    """Of the process of the models as it is now."""
    found = [
        one.pid
        for one in psutil.Process(process.own.pid).children()
        if "spawn_main" in " ".join(one.cmdline())
    ]
    return found[-1] if found else None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (faulty.RAISES, "the model failed on this image"),
        (faulty.NO_MEMORY, "the model ran out of memory on this image: send a smaller one"),
        (faulty.NO_NUMBERS, ""),
    ],
)
def test_images_on_which_the_model_fails(live, kind, words):
    answer = segment(live.port, faulty.marked(kind, pattern(1)))
    assert answer.status == 503, answer.body
    assert answer.headers["retry-after"]
    assert words in answer.error
    for secret in ("secret", "/", "Traceback", "CUDA"):
        assert secret not in answer.error


def test_a_bad_image_does_not_spoil_those_it_is_run_with(live, callers, folder):
    before = runs(folder)
    faulty.held_by(folder).touch()
    kinds = (faulty.SLOW, faulty.RAISES, faulty.NO_NUMBERS, 0, 0, 0, 0)
    shape = (4, 4)
    for number, kind in enumerate(kinds):
        cells = pattern(number, *shape)
        labels = cells.repeat(16, 0).repeat(16, 1)
        content = faulty.marked(kind, labels) if kind else png(cells)
        callers.call(lambda content=content: segment(live.port, content))
        until(lambda: runs(folder) > before)  # the first is run, and holds the others up
    faulty.held_by(folder).unlink()
    for number, (kind, answer) in enumerate(zip(kinds, callers.all(), strict=True)):
        if kind in (faulty.RAISES, faulty.NO_NUMBERS):
            assert answer.status == 503
        else:
            assert np.array_equal(cells_of(answer.body), pattern(number, *shape))


def test_answers_are_not_swapped(live, callers):
    shapes = [(4, 4), (3, 5), (1, 2)]

    def ask(number):
        cells = pattern(number, *shapes[number % 3])
        model = ("octants", "mirror")[number // 3 % 2]
        answer = segment(live.port, png(cells), f"?model={model}")
        assert answer.status == 200, answer.body
        assert np.array_equal(cells_of(answer.body), 7 - cells if model == "mirror" else cells)

    for number in range(200):
        callers.call(lambda number=number: ask(number))
    callers.all()


def test_the_process_is_killed_while_requests_wait(live, callers, folder):
    before = runs(folder)
    faulty.held_by(folder).touch()
    slow = pattern(99).repeat(16, 0).repeat(16, 1)
    callers.call(lambda: segment(live.port, faulty.marked(faulty.SLOW, slow)))
    until(lambda: runs(folder) > before)
    for number in range(20):
        content = png(pattern(number, 2, 3))
        callers.call(lambda content=content: segment(live.port, content))
    os.kill(model_pid(live), signal.SIGKILL)
    faulty.held_by(folder).unlink()
    first, *others = callers.all()
    assert np.array_equal(cells_of(first.body), pattern(99)), "it is run once more"
    for number, answer in enumerate(others):
        assert answer.status == 200, answer.body
        assert np.array_equal(cells_of(answer.body), pattern(number, 2, 3))


def test_the_process_is_killed_while_nothing_waits(live):
    os.kill(model_pid(live), signal.SIGKILL)
    require_alive(live.port, 5)


def test_an_image_that_ends_the_process(live, callers):
    labels = pattern(50).repeat(16, 0).repeat(16, 1)
    callers.call(lambda: segment(live.port, faulty.marked(faulty.DIES, labels)))
    for number in range(12):
        content = png(pattern(number))
        callers.call(lambda content=content: segment(live.port, content))
    poisonous, *others = callers.all()
    assert poisonous.status == 503
    assert poisonous.error == "the model's process ended on this image."
    for number, answer in enumerate(others):
        assert np.array_equal(cells_of(answer.body), pattern(number))


def test_large_images_in_windows_and_whole_agree(live):
    cells = pattern(8, 132, 132)
    answer = segment(live.port, png(cells))  # 2112 x 2112: more than is run in one piece
    assert answer.status == 200
    assert np.mean(cells_of(answer.body) == cells) > 0.999


def test_the_log_has_what_the_client_is_not_told(live):
    segment(live.port, faulty.marked(faulty.RAISES, pattern(1)))
    until(lambda: "secret of /home/someone" in live.log)


def test_labels_of_any_size(live):
    for size in ((1, 1), (17, 1), (1, 300), (63, 65)):
        labels = np.full(size, 2, np.uint8)
        answer = segment(live.port, encoded(picture(labels)))
        assert np.array_equal(labels_of(answer.body), labels)


REQUESTS = 3000
"""`benchmarks/serve_soak.py` sends a hundred thousand."""


def test_many_requests_leave_nothing_behind(live):
    cells = pattern(1)
    content = png(cells)
    raw = head("POST", "/v1/segment", {"Content-Length": len(content)}) + content

    def ask(count):
        for _ in range(count // 100):
            with connect(live.port) as sock:
                answers = Answers(sock)
                for _ in range(100):
                    sock.sendall(raw)
                    answer = answers.next()
                    assert answer.status == 200
            assert np.array_equal(cells_of(answer.body), cells)

    ask(500)
    before = [(one.memory_info().rss, one.num_fds()) for one in live.family()]
    ask(REQUESTS)
    after = [(one.memory_info().rss, one.num_fds()) for one in live.family()]
    assert len(after) == len(before)
    for (old, old_files), (new, new_files) in zip(before, after, strict=True):
        assert new - old < 60_000_000  # 20 kB a request would be a leak
        assert new_files <= old_files + 5


def test_a_model_that_was_exchanged_is_not_served(octant_models, tmp_path):
    place = shutil.copytree(octant_models["octants"], tmp_path / "octants")
    (tmp_path / "server").mkdir()
    with launched({"octants": str(place)}, tmp_path / "server") as process:
        process.wait_until_ready()
        require_alive(process.port)
        shutil.rmtree(place)
        shutil.copytree(octant_models["mirror"], place)
        os.kill(process.models, signal.SIGKILL)
        answer = segment(process.port, png(pattern(1)))
        assert answer.status == 503
        assert "has to be started anew" in answer.error
        for path in ("live", "ready"):
            assert request(process.port, "GET", f"/v2/health/{path}").status == 503
        assert "octants changed since the server started" in process.log
