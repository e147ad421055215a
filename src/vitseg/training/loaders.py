"""Processes that load samples: one that was killed is one sentence, whatever its loss looks like here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vitseg.errors import VitsegError

_ENDS = ("is killed by signal", "exited unexpectedly")


@contextmanager
def killed_loaders(num_workers: int, is_loading: bool = False) -> Iterator[None]:
    """Within it, that such a process was killed is told with what to do.

    torch says so by a signal's handler, which may raise anywhere; where a batch is waited for, the broken connection
    may be seen first.

    Args:
        num_workers: How many there are; 0: none, and nothing is changed.
        is_loading: Whether batches are waited for, and nothing else is done that needs a connection.

    Raises:
        VitsegError: One was killed.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not num_workers or not _is_of_killed(error, is_loading):
            raise
        raise VitsegError(
            "a process that loads samples was killed, as the system does where there is too little memory, or too "
            "little shared memory (/dev/shm; in a container --shm-size or --ipc=host): give more of it, or fewer "
            f"data.num_workers than {num_workers}. Go on with --resume from the state saved last."
        ) from error


def _is_of_killed(error: Exception, is_loading: bool) -> bool:
    said = str(error)
    if isinstance(error, RuntimeError):
        return "DataLoader worker" in said and any(end in said for end in _ENDS)
    was_raised_there = said.startswith("Caught ")  # as where a server is not reached
    return is_loading and not was_raised_there
