"""The images that `predict`, `explain` and `profile` are given: files, folders and patterns."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vitseg.errors import DataError, first_names
from vitseg.runs import MASKS, OVERLAYS, PREDICTIONS, SUGGESTED

_log = logging.getLogger("vitseg")


def find_inputs(inputs: list[str]) -> list[tuple[Path, str]]:
    """Image files with the names of their predictions (path below a given folder, without suffix).

    In a folder, masks and overlays of folders of predictions that lie in it are left out, and so are the annotations of
    folders of suggestions, with their copies of images; both is logged. A file that is reached in several ways counts
    once.

    Raises:
        DataError: An input does not exist, a folder holds no image, or two images would get the same name.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for text in inputs:
        for path, relative in files_of(text):
            found[os.path.abspath(path)] = path, relative
    names = prediction_names(
        [
            (str(path), str(relative), str(relative.with_suffix("")))
            for path, relative in found.values()
        ]
    )
    return [(path, name) for (path, _), name in zip(found.values(), names, strict=True)]


def files_of(text: str) -> list[tuple[Path, Path]]:
    """The images that an input means, each with its path below the input.

    Raises:
        DataError: It does not exist, or is a folder without images.
    """
    path = Path(text)
    if path.is_dir():
        return [(path / name, Path(name)) for name in _in_folder(path)]
    if path.is_file():
        return [(path, Path(path.name))]
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    files = [match for match in matches if match.is_file()]
    if not files and path.exists():
        raise DataError(f"{path} is no ordinary file, but images and folders of them are read.")
    if not files:
        only = f", but folders: give {first_names([str(match) for match in matches])}"
        raise DataError(
            f"{text} is no file, no folder, and matches no file as a pattern{only if matches else ''}."
        )
    return [(file, Path(file.name)) for file in files]


def _in_folder(folder: Path) -> list[str]:
    from vitseg.data.listing import files_below
    from vitseg.images.suffixes import IMAGE_SUFFIXES, is_array_name, is_image_name

    images: list[str] = []
    made: Counter[tuple[Path, str]] = Counter()
    known: dict[str, tuple[Path, str] | None] = {}  # by folder: what it is a part of
    there = files_below(folder)
    of_kind = is_image_name if any(map(is_image_name, there)) else is_array_name
    for name in filter(of_kind, there):
        inside = os.path.dirname(name)
        if inside not in known:
            known[inside] = _made_by_model(folder, Path(inside))
        part_of = known[inside]
        if part_of is None:
            images.append(name)
        else:
            made[part_of] += 1
    lines = [
        f"{place} holds {what.format(count)} are left out" for (place, what), count in made.items()
    ]
    if not images:
        others = "".join(f" {line}." for line in [*lines, *left_out([str(folder)])])
        raise DataError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).{others}")
    for line in lines:
        _log.info("%s.", line)
    return images


def _made_by_model(folder: Path, inside: Path) -> tuple[Path, str] | None:
    """The folder of predictions or of suggestions that a folder below a given one is a part of, and what it holds."""
    for place in (inside, *inside.parents):
        whole = folder / place.parent
        if place.name in (MASKS, OVERLAYS) and (whole / PREDICTIONS).is_file():
            return whole, "predictions: its {:,} masks and overlays"
        if place.name and (whole / SUGGESTED).is_file() and _is_tool(place.name):
            return whole, "suggestions: its {:,} masks and copies of images"
    return None


def _is_tool(name: str) -> bool:
    """Whether `vitseg suggest` writes annotations into a folder of this name."""
    from vitseg.annotations.table import WRITERS

    return name in WRITERS


def left_out(inputs: list[str]) -> list[str]:
    """Lines on what the given folders and patterns seem to mean and is not read.

    These are files in folders that look like pictures, but are in formats that are not read; and folders with images
    that a pattern matches, which stands for files.
    """
    from vitseg.data.listing import files_below
    from vitseg.images.suffixes import is_other_picture

    folders = [Path(text) for text in inputs if Path(text).is_dir()]
    names = [name for folder in folders for name in files_below(folder) if is_other_picture(name)]
    lines: list[str] = []
    if names:
        are = "file is" if len(names) == 1 else "files are"
        lines.append(
            f"{len(names):,} {are} left out, since pictures in such formats are not read: {first_names(names)}"
        )
    matched = [folder for text in inputs for folder in _matched_folders(text)]
    if matched:
        are = "folder of images is" if len(matched) == 1 else "folders of images are"
        lines.append(
            f"{len(matched):,} {are} left out, since a pattern stands for the files that it matches (give a folder by "
            f"itself): {first_names(matched)}"
        )
    return lines


def _matched_folders(text: str) -> list[str]:
    """Folders with images that a pattern matches, while it does not reach what is in them."""
    from vitseg.data.listing import files_below
    from vitseg.images.suffixes import is_image_name

    if os.path.exists(text) or "**" in text or not glob.has_magic(text):
        return []
    return [
        match
        for match in sorted(glob.glob(text))
        if os.path.isdir(match)
        and any(
            is_image_name(name) and _made_by_model(Path(match), Path(os.path.dirname(name))) is None
            for name in files_below(Path(match))
        )
    ]


def prediction_names(found: Sequence[tuple[str, str, str]]) -> list[str]:
    """Names of predictions: paths below what was given, without suffix where that is no loss.

    Args:
        found: What messages call each image, its path with suffix, and without.

    Raises:
        DataError: Two images would get the same name.
    """
    counts = Counter(stem for _, _, stem in found)
    named: dict[str, str] = {}
    for image, whole, stem in found:
        name = whole if counts[stem] > 1 else stem
        if named.get(name) == image:
            raise DataError(f"{image} is there twice, and both would be written as {name}.")
        if name in named:
            raise DataError(
                f"{named[name]} and {image} would both be written as {name}: give the folder that holds both, or run "
                "them into two --out folders."
            )
        named[name] = image
    return list(named)
