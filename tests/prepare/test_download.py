from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from vitseg.errors import DataError
from vitseg.prepare import download as module
from vitseg.prepare.download import ATTEMPTS, Download, fetch

CONTENT = bytes(range(256)) * 4000  # about a megabyte
OTHER = CONTENT[::-1] + b"more"


class Site:
    """A server of one file, with the faults of real ones."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.drop_after: list[int] = []  # bytes after which the next connections end
        self.status = 0
        self.kind = "application/zip"
        self.location = ""
        self.shown_length = True
        self.requests: list[dict[str, str]] = []
        site = self

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that hangs up is not worth a traceback."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.requests.append(dict(self.headers))
                site.answer(self)

            def log_message(self, *arguments):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/files/set%201.zip"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.location:
            place, self.location = self.location, ""
            request.send_response(302)
            request.send_header("Location", place)
            request.end_headers()
            return
        if self.status:
            request.send_error(self.status)
            return
        start = 0
        wanted = request.headers.get("Range")
        if wanted and self.ranges and request.headers.get("If-Range") == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
            end = len(self.content)
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            request.send_response(200)
        if self.etag:
            request.send_header("ETag", self.etag)
        request.send_header("Content-Type", self.kind)
        if self.shown_length:
            request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        body = self.content[start:]
        request.wfile.write(body[: self.drop_after.pop(0)] if self.drop_after else body)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def sha1(content: bytes) -> str:
    return f"sha1:{hashlib.sha1(content).hexdigest()}"


def quiet(line: str) -> None:
    raise AssertionError(line)


def test_a_file_with_a_published_checksum(site, tmp_path):
    seen = []
    path = fetch(
        Download(site.url, sha1(CONTENT)), tmp_path / "new", quiet, lambda *s: seen.append(s)
    )
    assert path == tmp_path / "new" / "set 1.zip"
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["set 1.zip"]
    assert ("download set 1.zip", len(CONTENT), len(CONTENT)) in seen
    assert seen[-1] == ("verify set 1.zip", len(CONTENT), len(CONTENT))


def test_what_is_there_is_not_downloaded_again(site, tmp_path):
    download = Download(site.url, sha1(CONTENT))
    fetch(download, tmp_path, quiet)
    fetch(download, tmp_path, quiet)
    assert len(site.requests) == 1


def test_without_a_published_checksum_the_sha256_is_recorded(site, tmp_path):
    said: list[str] = []
    path = fetch(Download(site.url), tmp_path, said.append)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert said == [
        f"set 1.zip: no checksum is published; its sha256 is {digest} (written to {path}.sha256)"
    ]
    assert (tmp_path / "set 1.zip.sha256").read_text() == f"{digest}  set 1.zip\n"
    fetch(Download(site.url), tmp_path, quiet)
    path.write_bytes(OTHER)
    with pytest.raises(DataError, match=rf"sha256 .* but {digest} is right.* Delete it;"):
        fetch(Download(site.url), tmp_path, quiet)


def test_a_wrong_checksum(site, tmp_path):
    wanted = sha1(OTHER)
    with pytest.raises(DataError) as caught:
        fetch(Download(site.url, wanted), tmp_path, quiet)
    assert sha1(CONTENT)[5:] in str(caught.value)
    assert f"but {wanted[5:]} is right" in str(caught.value)
    assert "--source" in str(caught.value)
    assert not (tmp_path / "set 1.zip").exists()
    site.content = OTHER  # mended: the next run starts from nothing
    assert fetch(Download(site.url, wanted), tmp_path, quiet).read_bytes() == OTHER


def test_a_dropped_connection_is_continued(site, tmp_path):
    site.drop_after = [100_000, 0, 300_000, 5]
    path = fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet)
    assert path.read_bytes() == CONTENT
    assert [request.get("Range") for request in site.requests] == [
        None, "bytes=100000-", "bytes=100000-", "bytes=400000-", "bytes=400005-",
    ]  # fmt: skip
    assert {request.get("If-Range") for request in site.requests[1:]} == {'"one"'}


def test_a_run_that_gives_up_is_continued_by_the_next(site, tmp_path):
    site.drop_after = [100_000] + [0] * ATTEMPTS
    with pytest.raises(DataError, match=r"stopped after 100,000 bytes: .* to continue"):
        fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet)
    assert not (tmp_path / "set 1.zip").exists()
    site.drop_after = []
    site.requests.clear()
    path = fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet)
    assert path.read_bytes() == CONTENT
    assert [request.get("Range") for request in site.requests] == ["bytes=100000-"]


def test_a_file_that_has_changed_starts_again(site, tmp_path):
    site.drop_after = [100_000] + [0] * ATTEMPTS
    with pytest.raises(DataError):
        fetch(Download(site.url), tmp_path, quiet)
    site.drop_after, site.content, site.etag = [], OTHER, '"two"'
    path = fetch(Download(site.url), tmp_path, lambda line: None)
    assert path.read_bytes() == OTHER


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_it_starts_again(site, tmp_path, etag):
    site.etag, site.drop_after = etag, [100_000]
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT
    assert "Range" not in site.requests[1]


def test_a_server_without_ranges(site, tmp_path):
    site.ranges, site.drop_after = False, [100_000]
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT


def test_a_partial_file_of_unknown_origin_is_not_continued(site, tmp_path):
    (tmp_path / "set 1.zip.partial").write_bytes(b"x" * 500)
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT
    (tmp_path / "set 1.zip").unlink()
    (tmp_path / "set 1.zip.partial").write_bytes(b"x" * 500)
    (tmp_path / "set 1.zip.partial.json").write_text("{")
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT


def test_a_whole_file_that_was_not_renamed_yet(site, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module.os, "replace", lambda *files: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet)
    monkeypatch.undo()
    site.requests.clear()
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT
    assert site.requests == []


def test_a_server_that_does_not_say_the_length(site, tmp_path):
    site.shown_length = False
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal(site, tmp_path, status):
    site.status = status
    with pytest.raises(DataError, match=rf"answers {status} .* pass --source"):
        fetch(Download(site.url), tmp_path, quiet)
    assert len(site.requests) == 1


def test_a_server_in_trouble_is_asked_again(site, tmp_path):
    site.status = 503
    with pytest.raises(DataError, match=r"stopped after 0 bytes: the server answers 503"):
        fetch(Download(site.url), tmp_path, quiet)
    assert len(site.requests) == ATTEMPTS


def test_a_web_page_instead_of_the_file(site, tmp_path):
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="answers with a web page instead of the file"):
        fetch(Download(site.url), tmp_path, quiet)


def test_redirections_stay_with_http(site, tmp_path):
    site.location = site.url
    assert fetch(Download(site.url, sha1(CONTENT)), tmp_path, quiet).read_bytes() == CONTENT
    (tmp_path / "set 1.zip").unlink()
    for place, message in {
        "ftp://127.0.0.1/x.zip": "is not followed: only http and https is allowed",
        "file:///etc/passwd": "'file:///etc/passwd' is not allowed",
    }.items():
        site.location = place
        with pytest.raises(DataError, match=message):
            fetch(Download(site.url), tmp_path, quiet)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x.zip", "data:,x"])
def test_nothing_but_http_is_opened(tmp_path, url):
    with pytest.raises(DataError, match="unknown url type"):
        fetch(Download(url), tmp_path, quiet)


def test_a_disk_that_is_too_small(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        DataError, match=r"0\.0 GB free, but the rest of the download takes 0\.0 GB"
    ):
        fetch(Download(site.url), tmp_path, quiet)


def test_offline_is_one_line_that_names_the_way_out(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DataError) as caught:
        fetch(Download(f"http://127.0.0.1:{port}/set.zip"), tmp_path, quiet)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"127.0.0.1:{port} cannot be reached (")
    assert "is this machine offline? Get http://127.0.0.1" in message
    assert "pass --source" in message


def test_a_name_that_cannot_be_resolved(tmp_path, monkeypatch):
    def unknown(*arguments, **names):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        DataError, match=r"no\.example cannot be reached .*Name or service not known"
    ):
        fetch(Download("http://no.example/set.zip"), tmp_path, quiet)
