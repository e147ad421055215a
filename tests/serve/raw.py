"""HTTP by hand: bytes to a port, and the one answer that comes back."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, cast

SECONDS = 60.0
"""After which a test fails that waits for an answer; on a busy machine, most come within one."""


@dataclass(frozen=True)
class Answer:
    """What a server sent.

    Attributes:
        status: Of the answer.
        headers: By their names in small letters.
        body: Its bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error."""
        assert list(self.json) == ["error"], self.body
        return self.json["error"]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)


def head(method: str, target: str, headers: Mapping[str, Any] | None = None) -> bytes:
    """The first part of a request, up to its body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Answers:
    """The answers on a connection, one behind the other."""

    def __init__(self, sock: socket.socket):
        self._file = _Kept(socket.SocketIO(sock, "r"))

    def makefile(self, mode: str) -> _Kept:
        """What `HTTPResponse` reads from."""
        return self._file

    def next(self) -> Answer:
        response = HTTPResponse(cast(socket.socket, self))
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)


class _Kept(io.BufferedReader):
    def close(self) -> None:
        """Not by an answer: the next one may be in the buffer already."""


def answer_on(sock: socket.socket) -> Answer:
    """The answer on a connection on which no further one has been asked for."""
    return Answers(sock).next()


def exchange(port: int, *parts: bytes) -> Answer:
    """Send bytes as they are, and read an answer; a server that hangs up early has answered before."""
    with connect(port) as sock:
        with suppress(ConnectionError):
            for part in parts:
                sock.sendall(part)
        return answer_on(sock)


def all_bytes(sock: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while part := sock.recv(65_536):
            found += part
    return bytes(found)


def request(
    port: int,
    method: str = "GET",
    target: str = "/",
    body: bytes = b"",
    headers: Mapping[str, Any] | None = None,
) -> Answer:
    """An ordinary request."""
    given = {"Content-Length": len(body), **(headers or {})}
    return exchange(port, head(method, target, given) + body)


def segment(port: int, body: bytes, query: str = "", **headers: Any) -> Answer:
    """Ask for the labels of an image."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(port, "POST", f"/v1/segment{query}", body, named)


def form(
    fields: Iterable[tuple[str, bytes]], boundary: str = "limit"
) -> tuple[bytes, dict[str, str]]:
    """A form, and its header. A field is the rest of its Content-Disposition, and its content."""
    parts = [
        f"--{boundary}\r\nContent-Disposition: form-data; {field}\r\n\r\n".encode()
        + value
        + b"\r\n"
        for field, value in fields
    ]
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), kind


def chunked(parts: Iterable[bytes]) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
