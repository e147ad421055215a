"""One input of many: what goes wrong with it is told in a line, and the others follow."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitseg.cli import frame
from vitseg.errors import InterruptedRunError, VitsegError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Errors after which nothing more can be written, so that it is no use to go on."""

OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "Unable to allocate")
"""In the errors of CUDA and MPS, of torch's CPU and of numpy."""


class Failures:
    """Inputs that failed.

    Attributes:
        count: How many.
        exit_code: 0; 2 where one failed; 1 where a fault of ours is among the reasons.
        last: The reason of the last one, in a line; None where the last input went well.
        disk_full: The error of a full disk, if it was met.
    """

    def __init__(self):
        self.count = 0
        self.exit_code = 0
        self.last: str | None = None
        self.disk_full: OSError | None = None

    @contextmanager
    def told(self, path: Path) -> Iterator[None]:
        """Within it, an error is printed as a line and counted, and does not leave. With --debug, ours do.

        Args:
            path: The input.
        """
        self.last = None
        try:
            yield
        except InterruptedRunError:
            raise
        except Exception as error:
            line, ours = _explained(error, path)
            if ours and frame.is_debugging():
                raise
            frame.say(line, style="red")
            self.count += 1
            self.exit_code = 1 if ours or self.exit_code == 1 else 2
            self.last = _naming(error, path) if isinstance(error, VitsegError) else line
            self.disk_full = disk_full(error)


def disk_full(error: BaseException | None) -> OSError | None:
    """The full disk that an error comes from, if it does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__
    return None


def _naming(error: VitsegError, path: Path) -> str:
    """The message of an error, which may be about an option, with the input that it came from."""
    return str(error) if path.name in str(error) else f"{path}: {error}"


def _explained(error: Exception, path: Path) -> tuple[str, bool]:
    """One line on what went wrong with an input, and whether it is a fault of ours."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, VitsegError):
        return f"{type(error).__name__}: {_naming(error, path)}", False
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        reason = f" ({text})" if str(error) else ""
        return (
            f"{path} does not fit in memory{reason}. vitseg predict --tiles runs images in parts, and --max-memory "
            "bounds what it takes.",
            False,
        )
    if isinstance(error, OSError):
        # A file that is to get its name, when it is whole, is told by that.
        file = error.filename2 or error.filename
        place = f" ({file})" if file and str(file) != str(path) else ""
        return f"{path}: {error.strerror or text}{place}", False
    return (
        f"{path}: internal error, {type(error).__name__}: {text}. Please report it with: vitseg --debug ...",
        True,
    )
