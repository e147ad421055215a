"""Which official files of a data set are in the folders and archives that the user has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.errors import DataError
from vitseg.prepare.archives import is_archive_name
from vitseg.prepare.download import Download

_DEPTH = 3  # folders below the given one that are searched


class Archive(NamedTuple):
    """An official archive.

    Attributes:
        name: File name of the archive.
        into: Folder that it is unpacked into, relative to the folder of the data set.
        download: Address, if it may be downloaded.
    """

    name: str
    into: str = ""
    download: Download | None = None


def find_archives(known: Sequence[Archive], sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """The archives among the user's files and in their folders, each with the folder that it is unpacked into.

    In folders the official names count; a file may have any name if the data set is a single archive.

    Raises:
        DataError: A source does not exist, or a file is none of the archives.
    """
    found: list[tuple[Path, str]] = []
    for source in sources:
        if source.is_dir():
            names = {path.name.lower(): path for path in sorted(source.iterdir()) if path.is_file()}
            found += [
                (names[archive.name.lower()], archive.into)
                for archive in known
                if archive.name.lower() in names
            ]
        elif source.is_file():
            found.append((source, _into(known, source)))
        else:
            raise DataError(
                f"--source {source} does not exist. Give the folder with the official files, or an archive."
            )
    return found


def _into(known: Sequence[Archive], file: Path) -> str:
    for archive in known:
        if archive.name.lower() == file.name.lower():
            return archive.into
    if is_archive_name(file) and len(known) == 1:
        return known[0].into
    names = ", ".join(archive.name for archive in known)
    raise DataError(f"--source {file} is none of the data set's archives. Known: {names}.")


def locate(places: Sequence[Path], inside: str) -> Path | None:
    """The first folder, breadth first in the order of the places, that has something matching a pattern.

    Args:
        places: Folders; each is searched with three levels below it.
        inside: Pattern relative to the folder ("gtFine/*/*/*.json").
    """
    for place in places:
        for folder in _folders(place):
            if next(folder.glob(inside), None) is not None:
                return folder
    return None


def _folders(place: Path) -> Iterator[Path]:
    level = [place] if place.is_dir() else []
    for _ in range(_DEPTH + 1):
        yield from level
        level = [Path(child) for folder in level for child in _children(folder)]


def _children(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir() and entry.name[0] != ".")
