"""One input of many: what goes wrong with it is told in a line, and the others follow."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitseg.cli import frame
from vitseg.errors import InterruptedRunError, VitsegError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Errors after which nothing more can be written, so that it is no use to go on."""

OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "Unable to allocate")
"""In the errors of CUDA and MPS, of torch's CPU and of numpy."""


@dataclass(frozen=True)
class Failure:
    """Why an input failed.

    Attributes:
        line: What is printed of it.
        reason: What is kept of it: the same in fewer words.
        is_ours: Whether it is a fault of ours.
        disk_full: The error of a full disk, if that is why.
        where: The traceback of a fault of ours.
    """

    line: str
    reason: str
    is_ours: bool = False
    disk_full: OSError | None = None
    where: str = ""


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
    def told(self, path: Path | str) -> Iterator[None]:
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
            failure = failure_of(error, str(path))
            if failure.is_ours and frame.is_debugging():
                raise
            self.add(failure)

    def add(self, failure: Failure) -> None:
        """Print why an input failed, and count it."""
        frame.say(failure.line, style="red")
        self.count += 1
        self.exit_code = 1 if failure.is_ours or self.exit_code == 1 else 2
        self.last = failure.reason
        self.disk_full = failure.disk_full


def failure_of(error: Exception, name: str) -> Failure:
    """What is said of an error.

    Args:
        error: It was raised by an input.
        name: Path or address of that.
    """
    line, is_ours = _explained(error, name)
    reason = _naming(error, name) if isinstance(error, VitsegError) else line
    where = "".join(traceback.format_exception(error)) if is_ours else ""
    return Failure(line, reason, is_ours, disk_full(error), where)


def disk_full(error: BaseException | None) -> OSError | None:
    """The full disk that an error comes from, if it does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__
    return None


def _naming(error: VitsegError, path: str) -> str:
    """The message of an error, which may be about an option, with the input that it came from."""
    return str(error) if os.path.basename(path) in str(error) else f"{path}: {error}"


def _explained(error: Exception, path: str) -> tuple[str, bool]:
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
        place = f" ({file})" if file and str(file) != path else ""
        return f"{path}: {error.strerror or text}{place}", False
    return (
        f"{path}: internal error, {type(error).__name__}: {text}. Please report it with: vitseg --debug ...",
        True,
    )
