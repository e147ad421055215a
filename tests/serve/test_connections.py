"""The clock of an answer that is read slowly, without a network; what clients see of it is in `test_overload`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from vitseg.serve.connections import LEAST_RATE, bounded

SECONDS = 30.0
ENOUGH = int(LEAST_RATE * SECONDS)


class Transport:
    """What waits to be read is `left`."""

    def __init__(self, left: int):
        self.left = left
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_extra_info(self, name: str) -> None:
        return None

    def abort(self) -> None:
        self.is_aborted = True


class Clocks:
    """A loop whose time passes when it is told to."""

    def __init__(self):
        self.running = []

    def call_later(self, seconds, call):
        assert seconds == SECONDS
        clock = SimpleNamespace(call=call, cancel=lambda: self.running.remove(clock))
        self.running.append(clock)
        return clock

    def ring(self):
        (clock,) = self.running
        self.running.remove(clock)
        clock.call()


@pytest.fixture
def clocks():
    return Clocks()


def sending(clocks, left):
    kind = bounded(SECONDS)
    own = kind.__new__(kind)
    own.transport, own.loop = Transport(left), clocks
    own._watch_unread()
    return own


def test_a_client_that_reads_on_keeps_its_answer(clocks):
    own = sending(clocks, 20 * ENOUGH)
    for _ in range(19):
        own.transport.left -= ENOUGH
        clocks.ring()
        assert not own.transport.is_aborted
    own.transport.left = 0
    clocks.ring()
    assert not own.transport.is_aborted
    assert clocks.running == []


@pytest.mark.parametrize("read", [0, 1, ENOUGH - 1])
def test_a_client_that_stops_reading_loses_it(clocks, read):
    own = sending(clocks, 20 * ENOUGH)
    own.transport.left -= 3 * ENOUGH
    clocks.ring()
    own.transport.left -= read
    clocks.ring()
    assert own.transport.is_aborted
    assert clocks.running == []


def test_what_the_system_holds_counts(clocks, monkeypatch):
    """It takes megabytes at once, so that what is left here stays for long although the client reads."""
    held = [10 * ENOUGH]
    monkeypatch.setattr("vitseg.serve.connections._in_system", lambda transport: held[0])
    own = sending(clocks, 5 * ENOUGH)
    held[0] -= ENOUGH
    clocks.ring()
    assert not own.transport.is_aborted
    clocks.ring()
    assert own.transport.is_aborted


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems do not say")
def test_the_system_says_what_it_holds():
    from vitseg.serve.connections import _in_system

    async def scenario():
        async with asyncio.timeout(20):
            silent = asyncio.Event()
            server = await asyncio.start_server(lambda *_: silent.wait(), "127.0.0.1", 0)
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(bytes(30_000_000))
            held = _in_system(writer.transport)
            assert 0 < held <= 30_000_000 - writer.transport.get_write_buffer_size()
            writer.transport.abort()
            silent.set()
            server.close()

    asyncio.run(scenario())
