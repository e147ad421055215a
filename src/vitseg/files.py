"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_NAME = 255
"""Bytes of a file's name that file systems hold."""

_QUOTED = re.compile(r"\(os error (\d+)\)")
_LEFTOVER = re.compile(r"\.(\d+)\.partial$")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to, beside `path`, that gets its name when the block ends without an error.

    So that no half-written file is ever seen under the name, and a full disk leaves an earlier file as it was. The
    parent folder is created.

    Args:
        path: The file; an existing one is replaced.

    Raises:
        OSError: It cannot be written; the error names the file, which the system's own error on writing does not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return beside(path, f".{os.getpid()}.partial")


def beside(path: Path, tail: str) -> Path:
    """A hidden file beside another, whose name is no longer than what file systems hold, as the other's may just be.

    Args:
        path: The other file.
        tail: End of the hidden one's name.
    """
    name = path.name
    if len(os.fsencode(name)) + len(tail) + 1 > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return path.with_name(f".{name}{tail}")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether writing under one path would replace the file under the other; they need not be there."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


class WatchedFile:
    """A file for libraries that write through `write` and tell a failure in words of their own.

    Attributes:
        error: What the system said of a write that failed; None: all went well.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            error.filename = self._file.name
            self.error = error
            raise

    def flush(self) -> None:
        if not self._file.closed:  # a library may let go of its own wrapper after that
            self._file.flush()


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Within it, an error of a library that quotes one of the system, as `(os error 28)`, is that, and names the file.

    Args:
        path: The file that is written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError):
            if error.filename is None and error.errno is not None:
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise
        number = _QUOTED.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def is_utf8(path: Path) -> bool:
    """Whether a path is written in UTF-8; on Linux it may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left of `whole_file` below a folder; it may not be there."""
    for path in folder.rglob(".*.partial"):
        process = _LEFTOVER.search(path.name)
        if process and not _is_running(int(process[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if not Path(
        "/proc/self"
    ).exists():  # there is no other way that holds on every system: keep the file
        return True
    return Path(f"/proc/{process}").exists()


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that it appears whole or not at all; see `whole_file`.

    Of names of files that are no UTF-8 the odd bytes are spelt out, as JSON has them.
    """
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, indented by two, so that it appears whole or not at all; see `whole_file`."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
