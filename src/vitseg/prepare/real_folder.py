"""A folder below which files are written, and never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vitseg.errors import DataError


class RealFolder:
    """A folder of which every sub-folder that is written to is a real one: no link leads out of it.

    Args:
        root: The folder itself, which may be a link; made if it does not exist.

    Raises:
        DataError: It is a file.
    """

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise DataError(f"{root} is a file, but a folder to write to is expected.")
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._real: set[tuple[str, ...]] = {()}

    def path_of(self, parts: tuple[str, ...]) -> Path:
        """Where a file belongs; its folder is made.

        Args:
            parts: Its path below the folder, no part of which leads up.

        Raises:
            DataError: A link, a file or a folder is in its place.
        """
        folder = self._folder(parts[:-1])
        path = folder / parts[-1]
        kind = _kind(path)
        if kind not in (None, stat.S_IFREG):
            raise DataError(
                f"{path} is {_words(kind)}, but a file is to be written there. Remove it first."
            )
        return path

    def write(self, parts: tuple[str, ...], content: Iterable[bytes]) -> None:
        """Write a file whole or not at all; an existing one is replaced. Errors as for `path_of`."""
        path = self.path_of(parts)
        partial = path.with_name(
            f".{os.getpid()}.partial"
        )  # short: the name may be as long as allowed
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:  # x: whatever is put there meanwhile is not followed
                for chunk in content:
                    file.write(chunk)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _folder(self, parts: tuple[str, ...]) -> Path:
        path = self._root.joinpath(*parts)
        if parts in self._real:
            return path
        self._folder(parts[:-1])
        kind = _kind(path)
        if kind is None:
            path.mkdir()
        elif kind != stat.S_IFDIR:
            raise DataError(
                f"{path} is {_words(kind)}, but files are to be written below it. Remove it first."
            )
        self._real.add(parts)
        return path


def _kind(path: Path) -> int | None:
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        return None


def _words(kind: int | None) -> str:
    known = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
    return known.get(kind or 0, "a special file")
