"""Ray's own messages kept off the terminal; they are in its session's logs, too."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from vitseg.cli import frame


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, nothing comes to stdout, and to stderr only what Python writes; with --debug all does.

    Ray's core writes to the descriptor of stderr, whatever `sys.stderr` is, and a thread of Ray prints to stdout.
    """
    if frame.is_debugging():
        yield
        return
    sys.stderr.flush()
    with open(os.dup(2), "w", buffering=1, errors="backslashreplace") as ours:
        is_descriptor = _number_of(sys.stderr) == 2
        handlers = [
            handler
            for handler in logging.getLogger("vitseg").handlers
            if isinstance(handler, logging.StreamHandler) and _number_of(handler.stream) == 2
        ]
        streams = [handler.setStream(ours) for handler in handlers]
        try:
            with (
                open(os.devnull, "w") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(ours if is_descriptor else sys.stderr),
            ):
                os.dup2(nowhere.fileno(), 2)
                yield
        finally:
            os.dup2(ours.fileno(), 2)
            for handler, stream in zip(handlers, streams, strict=True):
                handler.setStream(stream)


def _number_of(stream: object) -> int | None:
    """The descriptor of a stream; None where it has none, as that of a test."""
    try:
        return stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
