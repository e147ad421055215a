"""A server with its process of models, which fails, is ended, and comes again."""

from __future__ import annotations

import os
import signal

import numpy as np
import psutil
import pytest

from tests.serve import faulty
from tests.serve.conftest import require_alive, until
from tests.serve.octants import cells_of, encoded, labels_of, pattern, picture, png
from tests.serve.processes import launched, runs
from tests.serve.raw import connect, head, request, segment


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


def test_a_bad_image_does_not_spoil_those_it_is_run_with(live, callers):
    kinds = (faulty.SLOW, faulty.RAISES, faulty.NO_NUMBERS, 0, 0, 0, 0)
    shape = (4, 4)
    for number, kind in enumerate(kinds):
        cells = pattern(number, *shape)
        labels = cells.repeat(16, 0).repeat(16, 1)
        content = faulty.marked(kind, labels) if kind else png(cells)
        callers.call(lambda content=content: segment(live.port, content))
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
    slow = pattern(99).repeat(16, 0).repeat(16, 1)
    callers.call(lambda: segment(live.port, faulty.marked(faulty.SLOW, slow)))
    until(lambda: runs(folder) > before)
    for number in range(20):
        content = png(pattern(number, 2, 3))
        callers.call(lambda content=content: segment(live.port, content))
    os.kill(model_pid(live), signal.SIGKILL)
    first, *others = callers.all()
    assert np.array_equal(cells_of(first.body), pattern(99)), "it is run once more"
    for number, answer in enumerate(others):
        assert answer.status == 200, answer.body
        assert np.array_equal(cells_of(answer.body), pattern(number, 2, 3))


def test_the_process_is_killed_while_nothing_waits(live):
    os.kill(model_pid(live), signal.SIGKILL)
    require_alive(live.port, 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [faulty.DIES, faulty.LEAVES])
def test_an_image_that_ends_the_process(live, callers, kind):
    labels = pattern(50).repeat(16, 0).repeat(16, 1)
    callers.call(lambda: segment(live.port, faulty.marked(kind, labels)))
    for number in range(12):
        content = png(pattern(number))
        callers.call(lambda content=content: segment(live.port, content))
    poisonous, *others = callers.all()
    assert poisonous.status == 503
    assert poisonous.error == "the model's process ended on this image."
    for number, answer in enumerate(others):
        assert np.array_equal(cells_of(answer.body), pattern(number))


def test_what_nobody_waits_for_is_not_run(live, callers, folder):
    before = runs(folder)
    slow = pattern(3).repeat(16, 0).repeat(16, 1)
    callers.call(lambda: segment(live.port, faulty.marked(faulty.SLOW, slow)))
    until(lambda: runs(folder) == before + 1)
    for number in range(10):
        content = png(pattern(number, 3, 3))
        with connect(live.port) as sock:
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(content)}) + content)
    assert callers.all()[0].status == 200
    require_alive(live.port)
    assert runs(folder) <= before + 1 + 1 + 10
    until(lambda: b"vitseg_queue_length 0.0" in request(live.port, "GET", "/metrics").body)


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
