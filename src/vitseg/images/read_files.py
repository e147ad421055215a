"""Which files a picture is read from: its own, those of its extra images, and what GDAL reads beside each of them.

Nothing here imports torch or rasterio, and nothing is opened: names are all that counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from vitseg.images.suffixes import ARRAY_SUFFIX, IMAGE_SUFFIXES

_LEVELS = 4
"""Folders above a picture beside which those of extra images are looked for."""

_BEHIND_NAME = (".aux.xml", ".msk")
_BEHIND_STEM = (".wld", ".tab", ".imd", ".rpb", "_rpc.txt")
"""Ends of the names of GDAL's sidecars: statistics and place, mask; world files, tables, camera models."""


def files_read(path: Path, extra_images: Sequence[str] = ()) -> list[Path]:
    """The files that are there of those that a picture is read from, its own first.

    Args:
        path: The picture's own file.
        extra_images: Names of the folders of its extra images, see `Bands`.
    """
    extra = [extra_file(path, folder) for folder in extra_images]
    pictures = [path, *(file for file in extra if file is not None)]
    return [file for picture in pictures for file in (picture, *_sidecars(picture))]


def state_of(path: Path, extra_images: Sequence[str] = ()) -> tuple[int | str, ...]:
    """What changes with what is read of a picture: sizes in bytes and times of change of its files.

    Args:
        path: The picture's own file.
        extra_images: As for `files_read`.

    Raises:
        OSError: A file cannot be looked at.
    """
    own = path.stat()
    state: list[int | str] = [own.st_size, own.st_mtime_ns]
    for file in files_read(path, extra_images)[1:]:
        stat = file.stat()
        state += [f"{file.parent.name}/{file.name}", stat.st_size, stat.st_mtime_ns]
    return tuple(state)


def extra_file(path: Path, folder: str) -> Path | None:
    """The picture of the same name in a folder beside one that the picture lies in, the nearest first."""
    inside = Path(path.name)
    above = path.absolute().parent
    for _ in range(_LEVELS):
        place = above.parent / folder
        if above.name != folder and place.is_dir():
            for suffix in dict.fromkeys((path.suffix, *IMAGE_SUFFIXES, ARRAY_SUFFIX)):
                file = place / inside.with_suffix(suffix)
                if file.is_file():
                    return file
        inside = Path(above.name) / inside
        if above.parent == above:
            return None
        above = above.parent
    return None


def world_file_suffixes(suffix: str) -> tuple[str, ...]:
    """Suffixes of the world file of a picture, as `.jgw` of a `.jpg`, in lower case.

    Args:
        suffix: Of the picture.
    """
    suffix = suffix.lower()
    return (f".{suffix[1]}{suffix[-1]}w", f"{suffix}w", ".wld") if len(suffix) > 2 else (".wld",)


def _sidecars(path: Path) -> list[Path]:
    path = Path(os.path.realpath(path))  # of a link, those beside what it leads to are read
    try:
        names = _names_in(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return []
    wanted = [f"{path.name}{end}" for end in _BEHIND_NAME]
    wanted += [
        f"{path.stem}{end}" for end in (*_BEHIND_STEM, *world_file_suffixes(path.suffix)[:-1])
    ]
    return [path.parent / name for each in wanted for name in names.get(each.lower(), ())]


@lru_cache(maxsize=16)
def _names_in(folder: Path, changed: int) -> Mapping[str, list[str]]:
    """Names of sidecars in a folder as it is since it changed last, by what they are in lower case."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        key = name.lower()
        if key.endswith((*_BEHIND_NAME, *_BEHIND_STEM)) or os.path.splitext(key)[1].endswith("w"):
            names.setdefault(key, []).append(name)
    return names
