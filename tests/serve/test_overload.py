"""Too many requests, too little time, clients that leave or do not read."""

from __future__ import annotations

import re
import socket
import time

import numpy as np
import pytest

from tests.serve.conftest import require_alive, until
from tests.serve.fake import running
from tests.serve.octants import cells_of, encoded, labels_of, large, pattern, picture, png
from tests.serve.raw import all_bytes, answer_on, connect, head, request, segment


@pytest.fixture
def tight():
    with running(max_requests=3, max_waiting_pixels=3 * 64 * 64, max_batch=1) as one:
        yield one
        one.models.gate.set()
        require_alive(one.port)
        assert one.service.admission.requests == 0
        assert one.service.admission.pixels == 0


def hold(server, callers, count, **headers):
    """Requests that wait for the model."""
    server.models.gate.clear()
    for number in range(count):
        content = png(pattern(number))
        callers.call(lambda content=content: segment(server.port, content, **headers))
    until(lambda: server.service.admission.requests == count)
    until(lambda: server.service.admission.pixels == count * 64 * 64)


def in_metrics(server, name):
    text = request(server.port, "GET", "/metrics").body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_too_many_requests(tight, callers):
    hold(tight, callers, 3)
    answer = segment(tight.port, png(pattern(9)))
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "3 requests wait already" in answer.error
    assert in_metrics(tight, "vitseg_requests_in_progress") == 3
    assert request(tight.port, "GET", "/v1/models").status == 200
    tight.models.gate.set()
    for number, one in enumerate(callers.all()):
        assert np.array_equal(cells_of(one.body), pattern(number))


def test_too_many_pixels(tight, callers):
    hold(tight, callers, 2)
    answer = segment(tight.port, encoded(picture(np.zeros((64, 65), np.uint8))))
    assert answer.status == 429
    assert answer.headers["retry-after"]
    assert "pixels wait already, of at most 12,288" in answer.error
    tight.models.gate.set()
    assert {one.status for one in callers.all()} == {200}


def test_one_image_may_have_more_pixels_if_it_is_alone(tight):
    labels = np.full((128, 128), 5, np.uint8)
    assert np.array_equal(labels_of(segment(tight.port, encoded(picture(labels))).body), labels)


def test_what_takes_longer_than_there_is_time_is_refused_at_once(tight, callers):
    hold(tight, callers, 2)
    tight.service.admission.seconds = 100.0
    answer = segment(tight.port, png(pattern(9)))
    assert answer.status == 429
    assert "take about 200.0 s" in answer.error
    tight.service.admission.seconds = 0.0
    tight.models.gate.set()
    assert {one.status for one in callers.all()} == {200}


@pytest.mark.parametrize("seconds", ["0.000001", "1e-300", "0.2"])
def test_too_little_time(tight, callers, seconds):
    tight.models.gate.clear()
    answer = segment(tight.port, png(pattern(1)), X_Request_Timeout=seconds)
    assert answer.status == 504
    assert "the time of the request is over" in answer.error
    tight.models.gate.set()


def test_time_runs_out_in_the_queue_and_its_work_is_dropped(tight, callers):
    hold(tight, callers, 1)
    callers.call(lambda: segment(tight.port, png(pattern(2)), X_Request_Timeout="0.3"))
    until(lambda: 1 in callers.answers)
    assert callers.answers[1].status == 504
    assert tight.service.engine.waiting == 0
    tight.models.gate.set()
    callers.all()
    assert len(tight.models.asked) == 1


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "soon",
        "",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1,5",
        "5s",
        "\xb2",
        "1 2",
        "9" * 5000 + "x",
    ],
)
def test_times_that_are_none(tight, value):
    answer = segment(tight.port, png(pattern(1)), X_Request_Timeout=value)
    assert answer.status == 400
    assert "X-Request-Timeout" in answer.error
    assert "seconds above 0" in answer.error
    assert len(answer.error) < 200


def test_more_time_than_the_server_allows_is_that_of_the_server(callers):
    with running(timeout=0.3) as server:
        server.models.gate.clear()
        assert segment(server.port, png(pattern(1)), X_Request_Timeout="1e9").status == 504
        server.models.gate.set()
        require_alive(server.port)


def test_a_server_that_ends_takes_no_more(tight, callers):
    hold(tight, callers, 2)
    tight.service.admission.state = "draining"
    for answer in (segment(tight.port, png(pattern(9))), request(tight.port, "GET", "/v1/models")):
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "the server ends" in answer.error
    tight.models.gate.set()
    for number, one in enumerate(callers.all()):
        assert np.array_equal(cells_of(one.body), pattern(number))
    tight.service.admission.state = "ready"


def test_a_client_leaves_before_it_has_sent_all(tight):
    with connect(tight.port) as sock:
        sock.sendall(head("POST", "/v1/segment", {"Content-Length": 1000}) + b"x")
        until(lambda: tight.service.admission.requests == 1)
    until(lambda: tight.service.admission.requests == 0)
    assert tight.models.asked == []


def test_a_client_leaves_before_its_form_has_come(tight, caplog):
    kind = {"Content-Length": 1000, "Content-Type": "multipart/form-data; boundary=b"}
    with connect(tight.port) as sock:
        sock.sendall(head("POST", "/v1/segment", kind) + b"--b\r\n")
        until(lambda: tight.service.admission.requests == 1)
    until(lambda: tight.service.admission.requests == 0)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("is_reset", [False, True])
def test_clients_leave_while_they_wait_and_their_work_is_dropped(tight, callers, is_reset):
    hold(tight, callers, 1)
    for number in (1, 2):
        content = png(pattern(number))
        with connect(tight.port) as sock:
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(content)}) + content)
            until(lambda: tight.service.engine.waiting == 1)
            if is_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until(lambda: tight.service.engine.waiting == 0)
    until(lambda: tight.service.admission.requests == 1)
    assert len(tight.models.gone) == 2
    tight.models.gate.set()
    callers.all()
    assert len(tight.models.asked) == 1, "what nobody waits for was run"
    until(
        lambda: (
            'vitseg_requests_total{code="499"} 2.0'
            in request(tight.port, "GET", "/metrics").body.decode()
        )
    )


def test_a_client_leaves_while_its_image_is_run(tight):
    content = png(pattern(1))
    tight.models.gate.clear()
    with connect(tight.port) as sock:
        sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(content)}) + content)
        assert tight.models.began.wait(60)
    until(lambda: tight.service.admission.requests == 0)
    assert tight.models.gone == {1}
    tight.models.gate.set()


def test_a_client_leaves_without_reading_its_answer(server):
    content = png(pattern(1))
    for _ in range(20):
        with connect(server.port) as sock:
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(content)}) + content)
            sock.recv(1)


NOISE = np.random.default_rng(0).integers(0, 8, (1200, 1600), dtype=np.uint8)
"""Labels that do not shrink: an answer of megabytes."""


def connections(server):
    return len(server.http.server_state.connections)


def slow_reader(port, buffer=4096):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    return sock


@pytest.mark.slow
def test_a_client_that_reads_a_byte_at_a_time(server):
    """Its connection is closed; 1 s is what this server allows."""
    content = encoded(picture(NOISE))
    target = "/v1/segment?overlay=true&confidence=true"
    before = connections(server)
    with slow_reader(server.port) as sock:
        sock.sendall(head("POST", target, {"Content-Length": len(content)}) + content)
        assert sock.recv(1) == b"H"
        while connections(server) > before:
            assert sock.recv(1)
            require_alive(server.port)
        rest = all_bytes(sock)
    assert len(rest) < 9_000_000


@pytest.mark.slow
def test_a_client_that_reads_steadily_gets_all_of_its_answer(server):
    """For several times the second that this server waits for one that reads nothing."""
    content = encoded(picture(NOISE))
    target = "/v1/segment?overlay=true&confidence=true"
    with slow_reader(server.port, 65_536) as sock:
        sock.sendall(head("POST", target, {"Content-Length": len(content)}) + content)
        came = bytearray()
        while b"\r\n\r\n" not in came:
            came += sock.recv(1000)
        start, _, body = bytes(came).partition(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", start)
        left = int(length) - len(body)
        while left:
            time.sleep(0.1)
            part = sock.recv(50_000)
            assert part, f"{left} of {length} bytes did not come"
            left -= len(part)


@pytest.mark.slow
def test_a_client_that_leaves_the_end_unread(server):
    """So little that the server is done with it, but more than the system takes: it would keep the connection."""
    before = connections(server)
    with slow_reader(server.port) as sock:
        get = head("GET", "/v1/models/octants/classes")
        for _ in range(20_000):
            sock.setblocking(False)
            try:
                sock.send(get)
            except BlockingIOError:
                break
        until(lambda: connections(server) <= before)


def test_two_hundred_clients_get_their_own_answers(callers):
    """With batches, two sizes and two models."""
    with running(max_requests=400, timeout=120) as server:
        shapes = [(4, 4), (3, 5)]

        def ask(number):
            cells = pattern(number, *shapes[number % 2])
            model = ("octants", "mirror")[number // 2 % 2]
            answer = segment(server.port, png(cells), f"?model={model}")
            assert answer.status == 200, answer.body
            expected = 7 - cells if model == "mirror" else cells
            assert np.array_equal(cells_of(answer.body), expected), number

        for number in range(200):
            callers.call(lambda number=number: ask(number))
        callers.all()
        assert max(server.models.batches) > 1
        assert sum(server.models.batches) == 200


def test_a_connection_that_stays_open_gets_its_own_answers(server):
    with connect(server.port) as sock:
        for number in range(50):
            content = png(pattern(number))
            sock.sendall(head("POST", "/v1/segment", {"Content-Length": len(content)}) + content)
            assert np.array_equal(cells_of(answer_on(sock).body), pattern(number))


def test_the_end_of_an_answer_is_not_held_back(server):
    with connect(server.port) as sock:
        sock.sendall(head("GET", "/v1/models"))
        answer_on(sock)
        (one,) = server.http.server_state.connections
        own = one.transport.get_extra_info("socket")
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_large_and_small_do_not_mix(server, callers):
    big = np.full((1024, 1024), 3, np.uint8)
    content = encoded(picture(big))
    callers.call(lambda: segment(server.port, content))
    small = segment(server.port, png(pattern(7)))
    assert np.array_equal(cells_of(small.body), pattern(7))
    assert np.array_equal(labels_of(callers.all()[0].body), big)
    assert large(pattern(7)).shape == labels_of(small.body).shape
