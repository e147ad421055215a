"""The server as a process: a port, signals, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import signal
import socket
from collections.abc import Callable

import uvicorn

from vitseg.errors import ConfigError
from vitseg.serve.app import create_app
from vitseg.serve.connections import bounded
from vitseg.serve.engine import Engine
from vitseg.serve.settings import ServeSettings

_log = logging.getLogger("vitseg")

BACKLOG = 2048
"""Connections that wait to be taken."""

LEAST_END = 5
"""Seconds that answers get which are read while the server ends, where requests have taken all of its grace."""


def bind(host: str, port: int) -> socket.socket:
    """A socket with an address, which is not open yet; port 0 takes a free one.

    Raises:
        ConfigError: The address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # with its protocol named, asyncio sends the ends of answers at once, and not 40 ms later
        own = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unusable(host, port, error) from error
    own.set_inheritable(False)
    return own


def _open(listener: socket.socket) -> None:
    """Have a socket take connections; raises ConfigError where another program has come first."""
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _unusable(host, port, error) from error


def _unusable(host: str, port: int, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(
        f"--host {host} --port {port} cannot be used: {reason}. Give another port, or end what listens there."
    )


def serve(
    engine: Engine,
    settings: ServeSettings,
    listener: socket.socket,
    on_ready: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted is finished first.

    Args:
        engine: Runs the models.
        settings: Limits and switches.
        listener: From `bind`; it is opened once the models are loaded.
        on_ready: Called when requests are taken.

    Raises:
        VitsegError: The models cannot be loaded, or the port cannot be opened any more.
    """
    asyncio.run(_serve(engine, settings, listener, on_ready))


async def _serve(
    engine: Engine,
    settings: ServeSettings,
    listener: socket.socket,
    on_ready: Callable[[], object],
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    start = asyncio.ensure_future(engine.start())
    stop = asyncio.ensure_future(ended.wait())
    await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await engine.stop()
        return
    start.result()
    try:
        _open(listener)
    except ConfigError:
        await engine.stop()
        raise
    app = create_app(engine, settings)
    server = _Server(_config(app, settings))
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    gc.freeze()  # what is loaded stays: to look through it for garbage would hold up everybody
    if not running.done():
        on_ready()
    await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        until = loop.time() + settings.grace
        admission = app.state.service.admission
        admission.state = "draining"
        if admission.requests:
            _log.info("%d requests are finished, then the server ends", admission.requests)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while admission.requests:
                    await asyncio.sleep(0.02)
        left = math.ceil(until - loop.time())
        server.config.timeout_graceful_shutdown = max(LEAST_END, left)
        server.should_exit = True
    await running
    gc.unfreeze()


def _config(app: object, settings: ServeSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        http=bounded(settings.send_timeout),
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=LEAST_END,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=65_536,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are ours: it would end without finishing what was accepted."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield
