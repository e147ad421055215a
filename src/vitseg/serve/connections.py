"""Connections that are closed when their client sends no request, or reads no answer, for too long."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vitseg.serve.limits import SECURITY_HEADERS
from vitseg.serve.problems import error_body

HEAD_SECONDS = 10.0
"""In which the head of a request has to arrive, counted from its first byte, or from the start of the connection."""

LEAST_RATE = 1000.0
"""Bytes a second that a client has to read of its answer: who reads hardly anything keeps its memory for hours."""

MAX_CONNECTIONS = 500
"""More are closed at once: each holds a file descriptor, of which a process often has no more than 1,024."""


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol of the strict parser h11, with two clocks that uvicorn has not."""

    send_timeout: ClassVar[float] = 30.0

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _left: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head = _cancelled(self._head)
        self._unread = _cancelled(self._unread)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What was sent waits to be read."""
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._watch_unread()

    def on_response_complete(self) -> None:
        """An answer is on its way, the end of which may never be read."""
        super().on_response_complete()
        self._watch_unread()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, like every other error."""
        if self.conn.our_state not in (
            h11.IDLE,
            h11.SEND_RESPONSE,
        ):  # the answer to the request before is under way
            self.transport.close()
            return
        content = error_body("this is no valid request of HTTP/1.1.")
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            **SECURITY_HEADERS,
        }
        start = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
        for event in (start, h11.Data(data=content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_unread()

    def _watch_head(self) -> None:
        """Start the clock where a head is awaited, stop it where one has come."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._head = _cancelled(self._head)
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _watch_unread(self) -> None:
        """Start the clock anew where something is left to be read; `transport.close` waits for that without end."""
        self._unread = _cancelled(self._unread)
        if self.transport.get_write_buffer_size():
            self._left = self._bytes_left()
            self._unread = self.loop.call_later(self.send_timeout, self._end_if_unread)

    def _end_if_unread(self) -> None:
        """End the connection unless its client has read on since the last look."""
        self._unread = None
        if not self.transport.get_write_buffer_size():
            return
        if self._left - self._bytes_left() < LEAST_RATE * self.send_timeout:
            self.transport.abort()
        else:
            self._watch_unread()

    def _bytes_left(self) -> int:
        """What was sent and not read: here, and in the system's own buffer, which takes megabytes at a time."""
        return self.transport.get_write_buffer_size() + _in_system(self.transport)


def bounded(seconds: float) -> type[BoundedProtocol]:
    """The protocol with a time after which a client that reads nothing more, or hardly anything, is left."""
    return type("BoundedProtocol", (BoundedProtocol,), {"send_timeout": seconds})


def _cancelled(clock: asyncio.TimerHandle | None) -> None:
    if clock is not None:
        clock.cancel()


def _in_system(transport: asyncio.Transport) -> int:
    """Bytes that the system holds until the other side has them; 0 where it does not say, as on others than Linux."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl
        import termios

        descriptor = transport.get_extra_info("socket").fileno()
        (held,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return held
    return 0
