"""The images that `predict`, `explain` and `profile` are given: files, folders and patterns."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from pathlib import Path

from vitseg.errors import DataError
from vitseg.runs import MASKS, OVERLAYS, PREDICTIONS

_log = logging.getLogger("vitseg")


def find_inputs(inputs: list[str]) -> list[tuple[Path, str]]:
    """Image files with the names of their predictions (path below a given folder, without suffix).

    In folders, hidden files and those in hidden folders are passed over, and so are the masks and overlays of folders
    of predictions that lie in them, which is logged. A file that is reached in several ways counts once.

    Raises:
        DataError: An input does not exist, a folder holds no image, or two images would get the same name.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for text in inputs:
        for path, relative in _below(text):
            found[os.path.abspath(path)] = path, relative
    return _named(list(found.values()))


def _below(text: str) -> list[tuple[Path, Path]]:
    """The images that an input means, each with its path below the input."""
    from vitseg.images.decode import IMAGE_SUFFIXES

    path = Path(text)
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        images = _in_folder(path, IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        return [(image, image.relative_to(path)) for image in images]
    files = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    files = [file for file in files if file.is_file()]
    if not files:
        raise DataError(f"{text} is no file, no folder, and matches no file as a pattern.")
    return [(file, Path(file.name)) for file in files]


def _in_folder(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    from vitseg.data.listing import is_hidden

    images: list[Path] = []
    left_out: Counter[Path] = Counter()
    known: dict[
        Path, Path | None
    ] = {}  # by folder: the folder of predictions whose pictures it holds
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in suffixes or any(map(is_hidden, parts)) or not path.is_file():
            continue
        if path.parent not in known:
            known[path.parent] = _predictions(path.parent, len(parts) - 1)
        predictions = known[path.parent]
        if predictions is None:
            images.append(path)
        else:
            left_out[predictions] += 1
    for predictions, count in left_out.items():
        _log.info(
            "%s holds predictions: its %d masks and overlays are left out.", predictions, count
        )
    return images


def _predictions(folder: Path, levels: int) -> Path | None:
    """The folder of predictions whose masks or overlays lie in a folder.

    Args:
        folder: The folder.
        levels: How many folders, this one and above it, are looked at.
    """
    for place in [folder, *folder.parents][:levels]:
        if place.name in (MASKS, OVERLAYS) and (place.parent / PREDICTIONS).is_file():
            return place.parent
    return None


def _named(found: list[tuple[Path, Path]]) -> list[tuple[Path, str]]:
    stems = [str(relative.with_suffix("")) for _, relative in found]
    counts = Counter(stems)
    named: dict[str, Path] = {}
    for (path, relative), stem in zip(found, stems, strict=True):
        name = str(relative) if counts[stem] > 1 else stem
        if name in named:
            raise DataError(
                f"{named[name]} and {path} would both be written as {name}: give the folder that holds both, or run "
                "them into two --out folders."
            )
        named[name] = path
    return [(path, name) for name, path in named.items()]
