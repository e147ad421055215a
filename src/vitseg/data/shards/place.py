"""Where shards lie: in a folder, or in an object store that pyarrow or fsspec reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitseg.data.listing import files_below
from vitseg.data.shards.open_files import OpenFiles
from vitseg.errors import DataError, first_line

_KEY = re.compile(r"://[^/@]*@")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

NEEDS_PYARROW = "needs pyarrow, which is an extra: pip install 'vitseg[shards]'."


class ShardPlace:
    """A folder of shards.

    Args:
        text: Its path, or its URL: `s3://BUCKET/FOLDER`, `gs://...`, `https://...` or another one that is known.
    """

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("file://").rstrip("/") or "/"
        self._open = OpenFiles(self.open)
        self._system = OpenFiles(_system)

    @property
    def is_local(self) -> bool:
        return _URL.match(self.text) is None

    def path(self, name: str) -> Path:
        """The path of a local file."""
        return Path(self.text) / name

    @property
    def shown(self) -> str:
        """The place as messages call it: of a URL without its options, and without a key."""
        return self.text if self.is_local else _KEY.sub("://", self.text.partition("?")[0])

    def named(self, name: str) -> str:
        """A file as messages call it."""
        return str(self.path(name)) if self.is_local else f"{self.shown}/{name}"

    def names(self) -> list[str]:
        """All files by their paths below the folder, sorted.

        Raises:
            DataError: There is no such folder, or it cannot be listed.
        """
        if not self.is_local:
            with _told(self.shown):
                return sorted(self._remote().names())
        folder = Path(self.text)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder.")
        return list(files_below(folder))

    def read(self, name: str) -> bytes:
        """A whole file; of one that does not exist, a FileNotFoundError.

        Raises:
            DataError: It cannot be read.
        """
        if self.is_local:
            try:
                return self.path(name).read_bytes()
            except FileNotFoundError:
                raise
            except OSError as error:
                raise DataError(f"{self.named(name)} cannot be read: {error.strerror}.") from error
        with _told(self.named(name)):
            return self._remote().read(name)

    def read_part(self, name: str, start: int, size: int) -> bytes:
        """Bytes of a file.

        Raises:
            DataError: It does not exist, cannot be read, or ends before them.
        """
        with self._open.use(name) as file, _told(self.named(name)):
            file.seek(start)
            content = file.read(size)
        if len(content) < size:
            raise DataError(
                f"{self.named(name)} is cut off: its {size:,} bytes from {start:,} on are not there. Copy it again."
            )
        return content

    def open(self, name: str) -> Any:
        """A file, open for reading at any place.

        Raises:
            DataError: It does not exist, or cannot be read.
        """
        if self.is_local:
            try:
                return self.path(name).open("rb", buffering=0)
            except FileNotFoundError:
                raise DataError(f"{self.named(name)} does not exist: copy it again.") from None
            except OSError as error:
                raise DataError(f"{self.named(name)} cannot be read: {error.strerror}.") from error
        try:
            with _told(self.named(name)):
                return self._remote().open(name)
        except FileNotFoundError:
            raise DataError(f"{self.named(name)} does not exist.") from None

    def _remote(self) -> _ArrowSystem | _FsspecSystem:
        """What reads the object store; each process has its own."""
        with self._system.use(self.text) as system:
            return system

    def size(self, name: str) -> int | None:
        """Bytes of a local file, None where it does not exist or is elsewhere."""
        try:
            return self.path(name).stat().st_size if self.is_local else None
        except OSError:
            return None


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Within it, whatever a library says of a file that it does not give is a DataError that names it."""
    try:
        yield
    except (FileNotFoundError, DataError):
        raise
    except Exception as error:  # of many kinds: pyarrow's, fsspec's, those of the connection
        raise DataError(
            f"{name} cannot be read: {type(error).__name__}: {_reason(error)}."
        ) from error


class _ArrowSystem:
    """A folder of an object store that pyarrow reads by itself."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path = filesystem, path.rstrip("/")

    def names(self) -> list[str]:
        from pyarrow import fs

        found = self._filesystem.get_file_info(fs.FileSelector(self._path, recursive=True))
        return [
            each.path.removeprefix(self._path).lstrip("/")
            for each in found
            if each.type == fs.FileType.File
        ]

    def read(self, name: str) -> bytes:
        with self._filesystem.open_input_stream(f"{self._path}/{name}") as file:
            return file.read()

    def open(self, name: str) -> Any:
        return self._filesystem.open_input_file(f"{self._path}/{name}")

    def close(self) -> None:
        """Nothing is open."""


class _FsspecSystem:
    """A folder that one of fsspec's file systems reads."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path = filesystem, path.rstrip("/")

    def names(self) -> list[str]:
        found = self._filesystem.find(self._path)
        return [name.removeprefix(self._path).lstrip("/") for name in found]

    def read(self, name: str) -> bytes:
        return self._filesystem.cat_file(f"{self._path}/{name}")

    def open(self, name: str) -> Any:
        # each part is asked for once: what lies around it belongs to other samples
        return self._filesystem.open(f"{self._path}/{name}", "rb", cache_type="none")

    def close(self) -> None:
        """Nothing is open."""


def _system(url: str) -> _ArrowSystem | _FsspecSystem:
    """What reads a URL.

    Raises:
        DataError: Nothing that is installed does.
    """
    try:
        import pyarrow
        from pyarrow import fs
    except ImportError:
        raise DataError(f"{ShardPlace(url).shown} {NEEDS_PYARROW}") from None
    try:
        return _ArrowSystem(*fs.FileSystem.from_uri(url))
    except (pyarrow.ArrowException, ValueError, ImportError, OSError) as error:
        refused = error
    import fsspec

    try:
        return _FsspecSystem(*fsspec.core.url_to_fs(url))
    except (ImportError, ValueError, OSError) as error:
        raise DataError(
            f"{ShardPlace(url).shown} is read neither by pyarrow ({_reason(refused)}) nor by fsspec ({_reason(error)})."
        ) from error


def _reason(error: Exception) -> str:
    """What a library says, without the key that it may quote."""
    return _KEY.sub("://", first_line(error))
