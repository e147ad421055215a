"""Around the app: sizes and times of requests, keys, headers of answers. Plain ASGI, so that nothing is buffered."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitseg.serve.metrics import Metrics
from vitseg.serve.problems import (
    BadRequestError,
    Problem,
    SlowBodyError,
    TooLargeError,
    UnauthorizedError,
    WrongFormatError,
    error_body,
)
from vitseg.serve.settings import ServeSettings

_log = logging.getLogger("vitseg")

LINGER = 2.0
"""Seconds in which what is still sent of a refused request is read and dropped, so that its client sees the answer."""

OPEN = ("/", "/page/", "/health", "/v2/health/live", "/v2/health/ready")
"""Paths that need no key: the page, which asks for it, and what looks whether the server lives."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-store",
}


class Limits:
    """Around an ASGI app.

    Args:
        app: The app.
        settings: Limits.
        metrics: Counts the answers.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics):
        self._app, self._settings, self._metrics = app, settings, metrics
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._settings.max_body, self._settings.receive_timeout)
        answer = _Answer(send, body, self._metrics)
        try:
            self._require_allowed(scope, body)
            await self._app(scope, body.receive, answer.send)
        except Problem as problem:
            if not answer.has_started:
                await answer.refuse(problem)
        except Exception:
            _log.exception("a request could not be answered")
            if not answer.has_started:
                await answer.refuse(Problem("the server failed on this request."))

    def _require_allowed(self, scope: Scope, body: _Body) -> None:
        headers = scope["headers"]
        if scope["http_version"] not in ("1.0", "1.1"):  # which the parser lets pass
            raise BadRequestError("this is no valid request of HTTP/1.1.")
        lengths = [value for name, value in headers if name == b"content-length"]
        is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
        if len(lengths) > 1 or (lengths and is_chunked):
            raise BadRequestError(
                "Content-Length and Transfer-Encoding contradict each other: send one of them, once."
            )
        if not lengths and not is_chunked:
            body.is_complete = True
        if lengths:
            length = int(lengths[0])  # digits alone: the parser of HTTP sees to that
            body.is_complete = length == 0
            body.require_length(length)
        self._require_plain(headers)
        path: str = scope["path"]
        is_open = path in OPEN or path.startswith("/page/")
        if self._keys and not is_open and not self._is_known(_key_of(headers)):
            raise UnauthorizedError(
                "an API key is needed: send it as X-API-Key, or as Authorization: Bearer."
            )

    @staticmethod
    def _require_plain(headers: list[tuple[bytes, bytes]]) -> None:
        """Raise WrongFormatError for a compressed body: what it unpacks to has no bound."""
        codings = [value for name, value in headers if name == b"content-encoding"]
        if any(coding.strip().lower() not in (b"", b"identity") for coding in codings):
            raise WrongFormatError(
                "a body with a Content-Encoding is not read here: send it as it is (identity)."
            )

    def _is_known(self, key: bytes) -> bool:
        """Whether a key is one of those that are set; how long this takes says nothing of which."""
        return sum(hmac.compare_digest(key, own) for own in self._keys) > 0


class _Body:
    """The body of a request, as far as it may be read.

    Args:
        receive: Of the server.
        max_bytes: At most.
        seconds: In which it has to arrive.
    """

    def __init__(self, receive: Receive, max_bytes: int, seconds: float):
        self._receive, self._max_bytes = receive, max_bytes
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._bytes = 0
        self.is_complete = False

    def require_length(self, length: int) -> None:
        """Raise TooLargeError for more bytes than are taken."""
        if length > self._max_bytes:
            raise TooLargeError(
                f"the request has {length:,} bytes, but at most {self._max_bytes:,} are taken."
            )

    async def receive(self) -> Message:
        if self.is_complete:
            return await self._receive()  # waits until the client leaves
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise SlowBodyError(
                f"the request did not arrive within {self._seconds:g} s: send it faster, or a smaller image."
            ) from None
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
            if self._bytes > self._max_bytes:
                raise TooLargeError(
                    f"the request has more than {self._max_bytes:,} bytes, which are taken at most."
                )
        else:
            self.is_complete = True
        return message

    async def drop(self) -> None:
        """Read the rest, for a while."""
        try:
            async with asyncio.timeout(LINGER):
                while not self.is_complete:
                    message = await self._receive()
                    self.is_complete = not message.get("more_body", False)
        except TimeoutError:
            pass


class _Answer:
    """The answer to a request, with the headers of every answer."""

    def __init__(self, send: Send, body: _Body, metrics: Metrics):
        self._send, self._body, self._metrics = send, body, metrics
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            self._metrics.answers.labels(str(message["status"])).inc()
            message = {**message, "headers": self._with_headers(message.get("headers", ()))}
        elif not message.get("more_body", False) and not self._body.is_complete:
            await self._send({**message, "more_body": True})
            await self._body.drop()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer a request of which nothing, or not all, was read."""
        content = error_body(problem.message)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **problem.headers,
        }
        await self.send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            }
        )
        await self.send({"type": "http.response.body", "body": content})

    def _with_headers(self, own: Any) -> list[tuple[bytes, bytes]]:
        headers = [(bytes(name).lower(), bytes(value)) for name, value in own]
        there = {name for name, _ in headers}
        more: Mapping[str, str] = SECURITY_HEADERS
        if not self._body.is_complete:
            more = {**more, "Connection": "close"}
        for name, value in more.items():
            if name.lower().encode() not in there:
                headers.append((name.lower().encode(), value.encode()))
        return headers


def _password(code: bytes) -> bytes:
    try:
        return base64.b64decode(code, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _key_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The API key of a request; empty where there is none."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization":
            kind, _, key = value.partition(b" ")
            if kind.lower() == b"basic":  # Label Studio's way: the key is the password
                return _password(key.strip())
            return key.strip() if kind.lower() == b"bearer" else b""
    return b""
