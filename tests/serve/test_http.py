"""What is no HTTP, or HTTP that two parties could read in two ways."""

from __future__ import annotations

import re

import pytest

from tests.serve.octants import pattern, png
from tests.serve.raw import Answers, all_bytes, answer_on, connect, exchange, head, request

IMAGE = png(pattern(0))
NO_HTTP = "this is no valid request of HTTP/1.1."
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: test\r\n\r\n"


def came(port, raw):
    """All that comes for some bytes, until the connection is closed."""
    with connect(port) as sock:
        sock.sendall(raw)
        return all_bytes(sock)


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding:\x0cchunked",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5,5,6",
        b" Content-Length: 5",
        b"Content-Length : 5",
        b"Content\0-Length: 5",
        b"X: a\0b",
        b"X: a\x7fb",
        b"X: a\rb",
        b": nameless",
        b"no colon",
        b"Sp ace: a",
    ],
)
def test_no_request_is_smuggled(server, coding):
    raw = b"POST /v1/segment HTTP/1.1\r\nHost: test\r\n" + coding + b"\r\n\r\n0\r\n\r\n" + HIDDEN
    found = came(server.port, raw)
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", found)
    assert statuses[-1] in (b"400", b"501"), found
    assert set(statuses) <= {b"400", b"422", b"501"}
    assert b"octants" not in found


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b"fffffffffffffffffffffff\r\nx",
        b"1;" + b"a" * 70_000,
        b"1\nx\n0\n\n",
        b"1 \r\nxx\r\n",
        b"5\r\nabc\r\n0\r\n\r\n" + HIDDEN,
        b"\r\n",
        b"0\r\nX: " + b"y" * 70_000,
    ],
)
def test_damaged_chunks(server, chunks):
    raw = head("POST", "/v1/segment", {"Transfer-Encoding": "chunked"}) + chunks
    found = came(server.port, raw)
    assert found[9:12] in (b"400", b"408"), found[:200]
    assert b"octants" not in found


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /health\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0" * 1000,
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000,
        b"GET /" + b"a" * 300_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
        b"\r\n\r\n\r\nGARBAGE\r\n\r\n",
    ],
    ids=range(14),
)
def test_no_http(server, raw):
    with connect(server.port) as sock:
        sock.sendall(raw)
        answer = answer_on(sock)
        assert all_bytes(sock) == b""
    assert answer.status == 400
    assert answer.error == NO_HTTP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/9.9", b"PRI * HTTP/2.0", b"GET /v1/models HTTP/0.9"]
)
def test_another_version(server, first):
    answer = exchange(server.port, first + b"\r\nHost: a\r\n\r\n")
    assert answer.status == 400
    assert answer.error == NO_HTTP


def test_a_long_target(server):
    assert request(server.port, "GET", "/" + "a" * 60_000).status == 404


def test_ten_thousand_headers(server):
    raw = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 10_000 + b"\r\n"
    assert exchange(server.port, raw).status in (200, 400)


def test_a_head_in_single_bytes(server):
    raw = head("GET", "/v1/models", {"X-Long": "y" * 2000})
    assert exchange(server.port, *(raw[at : at + 1] for at in range(len(raw)))).status == 200


def test_old_clients_keep_no_connection(server):
    found = came(server.port, b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 ")
    found = came(
        server.port, b"POST /v1/segment HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
    )
    assert found.startswith(b"HTTP/1.1 200 ")


def test_requests_behind_each_other_get_answers_in_their_order(server):
    post = head("POST", "/v1/segment?format=rle", {"Content-Length": len(IMAGE)}) + IMAGE
    get = head("GET", "/v1/models")
    with connect(server.port) as sock:
        sock.sendall((post + get + head("GET", "/nothing")) * 5)
        answers = Answers(sock)
        for _ in range(5):
            assert "mask" in answers.next().json
            assert "default" in answers.next().json
            assert answers.next().status == 404


@pytest.mark.parametrize(
    "target",
    [
        "http://test/v1/models",
        "http://other/v1/models",
        "*",
        "//v1/models",
        "/v1//models",
        "/V1/models",
        "/v1/models/",
        "/v1/models;a=b",
    ],
)
def test_other_forms_of_a_target(server, target):
    answer = request(server.port, "GET", target)
    assert answer.status in (400, 404), answer.body
    assert "location" not in answer.headers


def test_a_tunnel(server):
    assert request(server.port, "CONNECT", "example.com:443").status in (400, 404, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ==", "Sec-WebSocket-Version": "13"},
    ],
)  # fmt: skip
def test_no_other_protocol(server, headers):
    assert request(server.port, "GET", "/v1/models", headers=headers).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/page/..%2f..%2fpyproject.toml",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%5capp.py",
        "/page/%00",
        "/page//etc/passwd",
        "/page/..",
        "/page/.",
        "/page/",
        "/..%2f..%2fetc/passwd",
        "/v1/models/..%2f..%2fetc%2fpasswd/classes",
        "/v1/models/../../etc/passwd/classes",
        "/v1/models/%00/classes",
        "/v1/models/%ff%fe/classes",
        "/v1/models/%0d%0aX-Evil:%20y/classes",
        "/v1/models/" + "a" * 5000 + "/classes",
        "/v1/models/octants%2f/classes",
    ],
)
def test_no_way_out_of_the_room(server, target):
    answer = request(server.port, "GET", target)
    assert answer.status == 404
    assert len(answer.error) < 400
    assert "x-evil" not in answer.headers
    for word in ("root:", "import", "Traceback"):
        assert word not in answer.error


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?model=../../etc/passwd", 404),
        ("?model=%00", 404),
        ("?model=octants&model=mirror", (200, 422)),
        ("?classes=../../x", 422),
        ("?classes=,,,", 422),
        ("?classes=" + "1," * 5000 + "1", 200),
        ("?classes=-1", 422),
        ("?classes=8", 422),
        ("?classes=%C2%B2", 422),
        ("?classes=0000000000000007", (200, 422)),
        ("?classes=99999999999999999999", 422),
        ("?format=exe", 422),
        ("?overlay=maybe", 422),
        ("?fromat=png", 422),
        ("?format=png%0d%0aX-Evil:%20y", 422),
        ("?" + "a=b&" * 5000, 422),
        ("?%FF=%FE", 422),
        ("?model", 200),
        ("?", 200),
        ("?model=%F0%9F%98%80", 404),
        ("?areas=true&confidence=true&overlay=true&format=coco", 200),
    ],
)
def test_odd_queries(server, query, status):
    answer = request(server.port, "POST", f"/v1/segment{query}", IMAGE)
    allowed = status if isinstance(status, tuple) else (status,)
    assert answer.status in allowed, (answer.status, answer.body[:300])
    assert "x-evil" not in answer.headers
    if answer.status != 200:
        assert len(answer.error) < 600
        assert "Traceback" not in answer.error
