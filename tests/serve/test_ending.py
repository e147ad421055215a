"""How a server ends: by signals, in the middle of everything, and without leaving anything."""

from __future__ import annotations

import signal
import socket

import numpy as np
import psutil
import pytest

from tests.serve import faulty
from tests.serve.conftest import Callers, until
from tests.serve.octants import cells_of, pattern, png
from tests.serve.processes import launched, none_left, runs
from tests.serve.raw import answer_on, connect, head, segment

pytestmark = pytest.mark.slow


def is_closed(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return True
    return False


def busy(process, folder):
    """Requests of which one is being run, and the others wait."""
    callers = Callers()
    slow = pattern(0).repeat(16, 0).repeat(16, 1)
    before = runs(folder)
    faulty.held_by(folder).touch()
    callers.call(lambda: segment(process.port, faulty.marked(faulty.SLOW, slow)))
    until(lambda: runs(folder) > before)
    for number in range(1, 12):
        content = png(pattern(number))
        callers.call(lambda content=content: segment(process.port, content))
    until(lambda: in_progress(process) == 12)
    return callers


def in_progress(process):
    with connect(process.port) as sock:
        sock.sendall(head("GET", "/metrics"))
        text = answer_on(sock).body.decode()
    (line,) = [one for one in text.splitlines() if one.startswith("vitseg_requests_in_progress ")]
    return float(line.split()[1])


@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]]
)
def test_what_was_accepted_is_finished(octant_models, tmp_path, numbers):
    with launched(octant_models, tmp_path, receive_timeout=5.0) as process:
        process.wait_until_ready()
        family = process.family()
        idle = connect(process.port)
        half = connect(process.port)
        half.sendall(b"POST /v1/segment HTTP/1.1\r\nHo")
        callers = busy(process, tmp_path)
        never = connect(process.port)
        kind = {"Content-Length": 1000, "Expect": "100-continue"}
        never.sendall(head("POST", "/v1/segment", kind))
        assert never.recv(100).startswith(b"HTTP/1.1 100 "), "it is in"
        for number in numbers:
            process.send(number)
        late = segment_or_none(process.port)
        faulty.held_by(tmp_path).unlink()
        answers = callers.all()
        for number, answer in enumerate(answers):
            assert answer.status == 200, answer.body
            assert np.array_equal(cells_of(answer.body), pattern(number))
        assert answer_on(never).status == 408, "it does not hold up the end"
        assert process.end() == 0
        assert late is None or late.status == 503
        assert is_closed(process.port)
        assert none_left(family)
        for sock in (idle, half, never):
            sock.close()
        assert "Traceback" not in process.log, process.log


def segment_or_none(port):
    try:
        return segment(port, png(pattern(0)))
    except OSError:
        return None


def test_grace_has_an_end(octant_models, tmp_path):
    with launched(octant_models, tmp_path, grace=0.1, receive_timeout=500.0) as process:
        process.wait_until_ready()
        family = process.family()
        with connect(process.port) as sock:
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": 1000}) + b"x")
            until(lambda: in_progress(process) == 1)
            process.send(signal.SIGTERM)
            assert process.end() == 0
        assert none_left(family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_the_models_load(octant_models, tmp_path, number):
    with launched(octant_models, tmp_path) as process:
        process.wait_for("loading")
        until(lambda: len(process.family()) > 1)
        family = process.family()
        process.send(number)
        assert process.end() == 0
        assert none_left(family)
        assert "Traceback" not in process.log, process.log


def test_while_the_models_load_again(octant_models, tmp_path):
    with launched(octant_models, tmp_path) as process:
        process.wait_until_ready()
        psutil.Process(process.models).kill()
        callers = Callers()
        callers.call(lambda: segment_or_none(process.port))
        until(lambda: "SIGKILL" in process.log)
        family = process.family()
        process.send(signal.SIGTERM)
        assert process.end() == 0
        assert callers.all()[0].status == 200
        assert none_left(family)
        assert "Traceback" not in process.log, process.log


def test_the_models_end_with_a_server_that_is_killed(octant_models, tmp_path):
    with launched(octant_models, tmp_path) as process:
        process.wait_until_ready()
        costly = png(pattern(0)) + bytes(2_000_000)  # decoded in a third process
        segment(process.port, costly)
        family = process.family()
        assert len(family) >= 3
        before = runs(tmp_path)
        faulty.held_by(tmp_path).touch()
        slow = faulty.marked(faulty.SLOW, pattern(0).repeat(16, 0).repeat(16, 1))
        with connect(process.port) as sock:
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(slow)}) + slow)
            until(lambda: runs(tmp_path) > before)
            process.send(signal.SIGKILL)
        process.end()
        faulty.held_by(tmp_path).unlink()
        assert none_left(family)
