"""Errors that a user can cause. Each says what came, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class VitsegError(Exception):
    """Base of every error that the user can cause and mend; the CLI prints it as one line and exits 2.

    Attributes:
        is_own: Whether this process has to say it, of several that do the same work.
    """

    is_own = False


class ConfigError(VitsegError):
    """A recipe, an override or an argument is wrong."""


class DataError(VitsegError):
    """An image, a mask or a data set folder is wrong."""


class CheckpointError(VitsegError):
    """A weight file or a model directory is missing, damaged or does not fit."""


class InterruptedRunError(VitsegError):
    """Ctrl-C or SIGTERM stopped a run, whose state is saved.

    Attributes:
        signal_number: Number of the signal.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


class SaidElsewhereError(VitsegError):
    """Another process of the same work has failed, and says why; the CLI exits with 2 and says nothing more."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, of the machine or of a GPU, in whoever's words."""
    words = ("out of memory", "DefaultCPUAllocator", "can't allocate")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, else the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def first_names(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """One line for a name that is not in a table: what came, the nearest match, what is allowed.

    Args:
        kind: What is being named, in the user's words ("method", "data set").
        name: What the user wrote.
        valid: The allowed names.
    """
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is not a known {kind}.{hint} Known: {', '.join(valid)}."
