"""The processes that the first one of a training has started: one that fails ends it, and none outlives it.

torchrun sees to this by itself. Where vitseg starts the processes, Lightning looks every five seconds for one that has
failed, and then kills all others in the middle of whatever they were about to say.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning

from vitseg.errors import SaidElsewhereError

GRACE = 20.0
"""Seconds that a process has to meet and say by itself that another one has failed."""

_OBSERVER = "child-process-observer"
_PAUSE = 0.5
_PARENT = os.getppid()

_watches: list[_Watch] = []


def watch(fabric: lightning.Fabric) -> None:
    """Watch the processes that Fabric has just started, if it has, in the place of its own observer."""
    launcher = getattr(fabric.strategy, "launcher", None)
    children: Sequence[subprocess.Popen] = getattr(launcher, "procs", ())
    if not children:
        return
    for thread in threading.enumerate():
        if thread.name == _OBSERVER:
            thread._child_processes = []  # type: ignore[attr-defined]  # upon which it ends
    _watches.append(_Watch(children))


@contextmanager
def ended() -> Iterator[None]:
    """Around a training: if it fails, the processes that it has started end with it."""
    try:
        yield
    except BaseException:
        for watched in _watches:
            watched.end()
        raise
    finally:
        for watched in _watches:
            watched.done.set()
        _watches.clear()


def wait_for_first(path: Path) -> None:
    """In a process that the first one has started: wait until that one has written a file, behind a training.

    Args:
        path: The file, which appears whole.

    Raises:
        SaidElsewhereError: The first process has ended without it, and says why.
    """
    while not path.is_file():
        if os.getppid() != _PARENT and not path.is_file():
            raise SaidElsewhereError("the first process has ended, and says why.")
        time.sleep(_PAUSE)


class _Watch:
    """A thread that waits for a failure; the main one may hang in what no process will ever answer.

    Attributes:
        done: Set when there is nothing more to watch.
    """

    def __init__(self, children: Sequence[subprocess.Popen]):
        self.done = threading.Event()
        self._children = children
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self.done.wait(_PAUSE):
            failed = [rank for rank, child in enumerate(self._children, 1) if child.poll()]
            if not failed:
                continue
            if not self.done.wait(GRACE):
                print(
                    f"VitsegError: process {failed[0]} of this training has ended, and the others wait for it in vain. "
                    "Go on with --resume from the state saved last.",
                    file=sys.stderr,
                    flush=True,
                )
                self._kill()
                os._exit(2)
            return

    def end(self) -> None:
        """Let the processes end by themselves, and kill those that do not."""
        self.done.set()
        until = time.monotonic() + GRACE
        while any(child.poll() is None for child in self._children) and time.monotonic() < until:
            time.sleep(0.05)
        self._kill()

    def _kill(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()
