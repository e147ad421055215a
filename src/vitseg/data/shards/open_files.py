"""Files that stay open for further reads: a few at a time, and each process has its own."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

MOST_OPEN = 32
"""Files of a data set's split that a process keeps open."""


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None: ...


File = TypeVar("File", bound=Closable)


class _Opened(Generic[File]):
    """What a process has opened."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.files: OrderedDict[str, File] = OrderedDict()


class OpenFiles(Generic[File]):
    """The files that were read last, kept open.

    A process that was forked opens its own: with the files of its parent it would share the places that these stand at.

    Args:
        open_file: Opens the file of a name.
        most: Files that are kept open.
    """

    def __init__(self, open_file: Callable[[str], File], most: int = MOST_OPEN) -> None:
        self._open_file = open_file
        self._most = most
        self._opened: _Opened[File] | None = None
        self._inherited: _Opened[File] | None = None

    @contextmanager
    def use(self, name: str) -> Iterator[File]:
        """The open file, for one thread at a time; errors as for opening it."""
        opened = self._opened
        if opened is None or opened.process != os.getpid():
            self._inherited = opened  # kept, for its end would be that of connections of the parent
            opened = self._opened = _Opened()
        with opened.lock:
            if name not in opened.files:
                opened.files[name] = self._open_file(name)
            opened.files.move_to_end(name)
            while len(opened.files) > self._most:
                opened.files.popitem(last=False)[1].close()
            yield opened.files[name]

    def __getstate__(self) -> dict[str, object]:
        """Nothing that is open: a loader process opens its own."""
        return {**self.__dict__, "_opened": None, "_inherited": None}
