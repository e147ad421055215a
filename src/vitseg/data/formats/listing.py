"""Files below a folder, for the formats that do not pair images with masks one to one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vitseg.errors import DataError
from vitseg.images.decode import IMAGE_SUFFIXES


def files_below(folder: Path) -> list[str]:
    """Every file that is not hidden, by its path below `folder` with forward slashes, sorted."""
    files: list[str] = []
    for parent, _, names in os.walk(folder, followlinks=True):
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        files += [prefix + name for name in names if name[0] != "."]
    return sorted(files)


def image_names_below(folder: Path) -> dict[str, str]:
    """Image files as paths below `folder`, by the same without suffix; of two with one stem, the later by name."""
    names: dict[str, str] = {}
    for name in files_below(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES:
            names[stem] = name
    return names


def images_below(folder: Path) -> dict[str, Path]:
    """As `image_names_below`, but whole paths."""
    return {stem: folder / name for stem, name in image_names_below(folder).items()}


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        DataError: It is no readable text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable text file: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def name_first(what: str, paths: Sequence[object]) -> str:
    """Files in words, as `the label file a.txt and 5 more`."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"the {what} {paths[0]}{more}"
