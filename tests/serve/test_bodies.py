"""Bodies that are too large, too slow, or not as they say."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from tests.serve.octants import cells_of, pattern, png
from tests.serve.raw import (
    Answers,
    all_bytes,
    answer_on,
    chunked,
    connect,
    exchange,
    head,
    request,
    segment,
)
from vitseg.serve.connections import MAX_CONNECTIONS

LIMIT = 6_000_000
TARGET = "/v1/segment"


def post(**headers):
    return head("POST", TARGET, {name.replace("_", "-"): value for name, value in headers.items()})


def test_more_than_the_limit_is_refused_unread(server):
    answer = exchange(server.port, post(Content_Length=LIMIT + 1))
    assert answer.status == 413
    assert "6,000,001 bytes, but at most 6,000,000" in answer.error
    assert answer.headers["connection"] == "close"


def test_a_client_that_sends_it_all_the_same_sees_the_answer(server):
    body = bytes(LIMIT + 1)
    assert exchange(server.port, post(Content_Length=len(body)), body).status == 413


def test_as_much_as_the_limit_is_read(server):
    answer = segment(server.port, png(pattern(0)).ljust(LIMIT, b"\0"))
    assert answer.status in (200, 422), answer.body  # decoded in another process; not 413


def test_chunks_over_the_limit(server):
    body = chunked([bytes(100_000)] * 70)
    answer = exchange(server.port, post(Transfer_Encoding="chunked"), body)
    assert answer.status == 413
    assert "more than 6,000,000 bytes" in answer.error


def test_endless_chunks(server):
    piece = b"186a0\r\n" + bytes(100_000) + b"\r\n"
    with connect(server.port) as sock:
        sock.sendall(post(Transfer_Encoding="chunked"))
        with suppress(ConnectionError):
            for _ in range(20_000):
                sock.sendall(piece)
            pytest.fail("2 GB were taken")


def test_chunks_of_an_image(server):
    cells = pattern(3)
    content = png(cells)
    body = chunked(content[at : at + 7] for at in range(0, len(content), 7))
    answer = exchange(server.port, post(Transfer_Encoding="chunked"), body)
    assert answer.status == 200
    assert np.array_equal(cells_of(answer.body), cells)


def test_a_byte_at_a_time_is_too_slow(server):
    with connect(server.port) as sock:
        sock.sendall(post(Transfer_Encoding="chunked"))
        sock.settimeout(0.2)
        for _ in range(300):
            with suppress(ConnectionError):
                sock.sendall(b"1\r\nx\r\n")
            try:
                sock.recv(1, 2)  # MSG_PEEK: something has come
                break
            except TimeoutError:
                continue
        sock.settimeout(30)
        answer = answer_on(sock)
    assert answer.status == 408
    assert "did not arrive within 1 s" in answer.error


def test_less_than_was_said_is_too_slow(server):
    answer = exchange(server.port, post(Content_Length=1000), b"x" * 10)
    assert answer.status == 408


def test_less_than_was_said_and_an_end(server):
    with connect(server.port) as sock:
        sock.sendall(post(Content_Length=1000) + b"x" * 10)
        sock.shutdown(1)
        assert b"200" not in all_bytes(sock)[:20]


def test_more_than_was_said_is_another_request(server):
    content = png(pattern(0))
    with connect(server.port) as sock:
        sock.sendall(post(Content_Length=len(content)) + content + b"xyz\r\n\r\n")
        answers = Answers(sock)
        assert answers.next().status == 200
        assert answers.next().status == 400
        assert all_bytes(sock) == b""


@pytest.mark.parametrize(
    "length", ["-1", "+5", "5, 6", "0x10", "1e3", "five", "", "5 5", "9" * 30, "\xb2"]
)
def test_a_length_that_is_no_number(server, length):
    answer = exchange(server.port, post(Content_Length=length), b"xxxxx")
    assert answer.status == 400
    assert answer.error


@pytest.mark.parametrize(("second", "status"), [("6", 400), ("5", 415)])
def test_two_lengths(server, second, status):
    raw = post(Content_Length="5").replace(
        b"\r\n\r\n", f"\r\nContent-Length: {second}\r\n\r\n".encode()
    )
    assert exchange(server.port, raw, b"xxxxx").status == status


def test_no_length_is_no_body(server):
    answer = exchange(server.port, post())
    assert answer.status == 422
    assert "no image in the request" in answer.error


def test_an_empty_body(server):
    assert segment(server.port, b"").status == 422


def test_lengths_and_chunks_at_once(server):
    raw = post(Content_Length="5", Transfer_Encoding="chunked")
    answer = exchange(server.port, raw, chunked([b"xxxxx"]))
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


def test_the_client_waits_to_be_told_to_go_on(server):
    cells = pattern(4)
    content = png(cells)
    with connect(server.port) as sock:
        sock.sendall(post(Content_Length=len(content), Expect="100-continue"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(content)
        answer = answer_on(sock)
    assert np.array_equal(cells_of(answer.body), cells)


def test_the_client_is_told_not_to_go_on(server):
    with connect(server.port) as sock:
        sock.sendall(post(Content_Length=LIMIT + 1, Expect="100-continue"))
        came = all_bytes(sock)
    assert came.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in came


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "nonsense"])
def test_a_coded_body(server, coding):
    answer = segment(server.port, png(pattern(0)), Content_Encoding=coding)
    assert answer.status == 415
    assert "Content-Encoding" in answer.error
    assert "identity" in answer.error


def test_a_body_of_its_own_coding(server):
    assert segment(server.port, png(pattern(0)), Content_Encoding="identity").status == 200


def test_a_slow_head(server, monkeypatch):
    monkeypatch.setattr("vitseg.serve.connections.HEAD_SECONDS", 1.0)
    with connect(server.port) as sock:
        assert closes_while(sock, b"GET /health HTTP/1.1\r\n", b"X-A: b\r\n")


def test_a_slow_head_after_another_request(server, monkeypatch):
    monkeypatch.setattr("vitseg.serve.connections.HEAD_SECONDS", 1.0)
    with connect(server.port) as sock:
        sock.sendall(head("GET", "/v1/models"))
        assert answer_on(sock).status == 200
        assert closes_while(sock, b"GET /health HTTP/1.1\r\n", b"X-A: b\r\n")


def test_a_connection_that_says_nothing(server, monkeypatch):
    monkeypatch.setattr("vitseg.serve.connections.HEAD_SECONDS", 1.0)
    with connect(server.port) as sock:
        assert all_bytes(sock) == b""


def closes_while(sock, first, again):
    """Whether the server hangs up on who sends a little ever again."""
    with suppress(ConnectionError):
        sock.sendall(first)
        sock.settimeout(0.1)
        for _ in range(600):
            sock.sendall(again)
            try:
                if not sock.recv(1000):
                    return True
            except TimeoutError:
                continue
        return False
    return True


def test_many_slow_bodies_are_a_place_each_and_then_none(server):
    slow = [connect(server.port) for _ in range(20)]
    for sock in slow:
        sock.sendall(post(Content_Length=1000) + b"x")
    for sock in slow:
        assert answer_on(sock).status == 408
        sock.close()


def test_chunks_of_one_byte_do_not_stop_the_others(server):
    with connect(server.port) as sock:
        sock.sendall(post(Transfer_Encoding="chunked"))
        sock.sendall(b"1\r\nx\r\n" * 50_000)
        assert request(server.port, "GET", "/v1/models").status == 200
        answer = answer_on(sock)
    assert answer.status in (400, 408, 413)


def test_connections_without_end(server):
    many = [connect(server.port) for _ in range(MAX_CONNECTIONS + 100)]
    closed = 0
    for sock in many[MAX_CONNECTIONS:]:
        closed += all_bytes(sock) == b""
    for sock in many:
        sock.close()
    assert closed == 100
