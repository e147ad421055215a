"""Connections that are closed when their client sends no request, or reads no answer, for too long."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""In which the head of the first request has to arrive, and a while is left between two requests."""


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol of the strict parser h11, with two clocks that uvicorn has not."""

    send_timeout: ClassVar[float] = 30.0

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_SECONDS, self._end_if_idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self._head is not None:  # there was a whole head
            self._head.cancel()
            self._head = None

    def connection_lost(self, exc: Exception | None) -> None:
        for clock in (self._head, self._unread):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What was sent waits to be read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.send_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _end_if_idle(self) -> None:
        if self.cycle is None:
            self.transport.abort()


def bounded(seconds: float) -> type[BoundedProtocol]:
    """The protocol with a time in which what was sent has to be read."""
    return type("BoundedProtocol", (BoundedProtocol,), {"send_timeout": seconds})
