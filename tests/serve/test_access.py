"""Keys, methods, and the headers of every answer."""

from __future__ import annotations

import pytest

from tests.serve.fake import running
from tests.serve.octants import pattern, png
from tests.serve.raw import all_bytes, connect, exchange, head, request, segment
from vitseg.serve import app as app_module
from vitseg.serve.limits import SECURITY_HEADERS

IMAGE = png(pattern(0))
KEYS = ("first-key", "zweiter-schlüssel")
CLOSED = (
    "/v1/models",
    "/v1/models/octants/classes",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/nothing",
    "/v1",
    "/page",
    "//",
    "/health/",
    "/HEALTH",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "main.js").write_text("export {}")
    return folder


@pytest.fixture(scope="module")
def keyed(page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_module, "PAGE", page)
        with running(api_keys=KEYS, shows_page=True, shows_docs=True) as one:
            yield one.port


def asked(port, **headers):
    return segment(port, IMAGE, **headers)


@pytest.mark.parametrize("target", CLOSED)
def test_without_a_key(keyed, target):
    answer = request(keyed, "GET", target)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "X-API-Key" in answer.error
    assert KEYS[0] not in answer.error


def test_the_right_keys(keyed):
    for key in KEYS:
        sent = key.encode().decode("latin-1")
        body = head("GET", "/v1/models", {"X-API-Key": key.encode().decode("latin-1")})
        assert exchange(keyed, body).status == 200
        for scheme in ("Bearer", "bearer", "BEARER "):
            body = head("GET", "/v1/models", {"Authorization": f"{scheme} {sent}"})
            assert exchange(keyed, body).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ""},
        {"X-API-Key": "first-ke"},
        {"X-API-Key": "first-key2"},
        {"X-API-Key": "FIRST-KEY"},
        {"X-API-Key": "first-key,zweiter"},
        {"X-API-Key": "zweiter-schlüssel"},  # in latin-1: other bytes
        {"X-API-Key": "\xff\xfe"},
        {"X-API-Key": "x" * 10_000},
        {"Authorization": "first-key"},
        {"Authorization": "Basic first-key"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer wrong", "X-API-Key": "wrong"},
        {"X-Api-Keys": "first-key"},
        {"Cookie": "X-API-Key=first-key"},
    ],
)
def test_wrong_keys(keyed, headers):
    assert exchange(keyed, head("GET", "/v1/models", headers)).status == 401
    assert segment(keyed, IMAGE, **headers).status == 401


def test_both_headers_with_the_right_key(keyed):
    assert asked(keyed, X_API_Key=KEYS[0], Authorization=f"Bearer {KEYS[0]}").status == 200


def test_a_key_in_the_query_is_none(keyed):
    assert request(keyed, "GET", "/v1/models?api_key=first-key&X-API-Key=first-key").status == 401


def test_what_is_open(keyed):
    for target in ("/", "/page/main.js"):
        assert request(keyed, "GET", target).status == 200
    assert request(keyed, "GET", "/page/nothing.js").status == 404


def test_the_page_is_no_way_to_the_rest(keyed):
    for target in (
        "/page/../v1/models",
        "/page/..%2fv1%2fmodels",
        "/page/%2e%2e/metrics",
        "/page/x/../../metrics",
    ):
        assert request(keyed, "GET", target).status in (401, 404)


def test_a_large_body_without_a_key_is_not_read(keyed):
    with connect(keyed) as sock:
        sock.sendall(head("POST", "/v1/segment", {"Content-Length": 1_000_000}))
        sock.shutdown(1)
        assert all_bytes(sock).startswith(b"HTTP/1.1 401 ")


ANSWERS = [
    ("GET", "/", {}, b"", 200),
    ("GET", "/page/main.js", {}, b"", 200),
    ("GET", "/v1/models", {}, b"", 200),
    ("GET", "/metrics", {}, b"", 200),
    ("GET", "/openapi.json", {}, b"", 200),
    ("GET", "/nothing", {}, b"", 404),
    ("GET", "/page/nothing", {}, b"", 404),
    ("POST", "/v1/segment", {}, IMAGE, 200),
    ("POST", "/v1/segment", {}, b"", 422),
    ("POST", "/v1/segment", {}, b"hello", 415),
    ("POST", "/v1/segment?model=none", {}, IMAGE, 404),
    ("POST", "/v1/segment", {"X-Request-Timeout": "soon"}, IMAGE, 400),
    ("POST", "/v1/segment", {"Content-Length": "99999999999"}, b"", 413),
    ("POST", "/v1/segment", {"Content-Length": "nine"}, b"", 400),
    ("POST", "/v1/segment", {"Content-Encoding": "gzip"}, IMAGE, 415),
    ("GET", "/v1/segment", {}, b"", 405),
    ("PUT", "/v1/segment", {}, IMAGE, 405),
    ("DELETE", "/v1/models", {}, b"", 405),
    ("PATCH", "/v1/models", {}, b"", 405),
    ("TRACE", "/v1/models", {"X-Secret": "s"}, b"", 405),
    ("TRACE", "/", {"X-Secret": "s"}, b"", 405),
    ("POST", "/v1/models", {}, b"", 405),
    ("OPTIONS", "/v1/segment", {}, b"", 405),
    ("BREW", "/v1/segment", {}, b"", 405),
]  # fmt: skip


@pytest.fixture(scope="module")
def opened(page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_module, "PAGE", page)
        with running(shows_page=True) as one:
            yield one.port


@pytest.mark.parametrize(("method", "target", "headers", "body", "status"), ANSWERS)
def test_every_answer_has_the_headers(opened, method, target, headers, body, status):
    answer = request(opened, method, target, body, headers | {"Origin": "http://evil.example"})
    assert answer.status == status, answer.body[:300]
    for name, value in SECURITY_HEADERS.items():
        assert name.lower() in answer.headers
        if name != "Cache-Control":
            assert answer.headers[name.lower()] == value
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "server" not in answer.headers
    assert "s" not in answer.headers.get("x-secret", "")
    if status >= 400:
        assert answer.headers["content-type"] == "application/json"
        assert answer.error
        assert "Traceback" not in answer.error
        assert ".py" not in answer.error


def test_no_permission_for_other_sites(opened):
    headers = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    answer = request(opened, "OPTIONS", "/v1/segment", headers=headers)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_fault_of_ours_says_nothing_of_it(opened, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret of /home/someone")

    monkeypatch.setattr("vitseg.serve.v1.encode_answer", fail)
    answer = segment(opened, IMAGE)
    assert answer.status == 500
    assert answer.error == "the server failed on this request."
    monkeypatch.undo()
    assert segment(opened, IMAGE).status == 200
    for name in SECURITY_HEADERS:
        assert name.lower() in answer.headers
