"""The images that `predict`, `explain` and `profile` are given: files, folders and patterns."""

from __future__ import annotations

import glob
from pathlib import Path

from vitseg.errors import DataError, first_names


def find_inputs(inputs: list[str]) -> list[tuple[Path, str]]:
    """Image files with the names of their predictions (path below a given folder, without suffix).

    Raises:
        DataError: An input does not exist, a folder holds no image, or two images would get the same name.
    """
    from vitseg.data.listing import files_below
    from vitseg.images.suffixes import IMAGE_SUFFIXES, is_image_name

    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            images = [name for name in files_below(path) if is_image_name(name)]
            if not images:
                others = "".join(f" {line}." for line in left_out([text]))
                raise DataError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).{others}")
            found.update({path / name: Path(name) for name in images})
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [match for match in matches if match.is_file()]
            if not files:
                raise DataError(f"{text} is no file, no folder, and matches no file as a pattern.")
            found.update({file: Path(file.name) for file in files})
    return _named(found)


def left_out(inputs: list[str]) -> list[str]:
    """The line on files in the given folders that look like pictures, but are in formats that are not read."""
    from vitseg.data.listing import files_below
    from vitseg.images.suffixes import is_other_picture

    folders = [Path(text) for text in inputs if Path(text).is_dir()]
    names = [name for folder in folders for name in files_below(folder) if is_other_picture(name)]
    if not names:
        return []
    are = "file is" if len(names) == 1 else "files are"
    return [
        f"{len(names):,} {are} left out, since pictures in such formats are not read: {first_names(names)}"
    ]


def _named(found: dict[Path, Path]) -> list[tuple[Path, str]]:
    stems = [str(relative.with_suffix("")) for relative in found.values()]
    named: dict[str, Path] = {}
    for (path, relative), stem in zip(found.items(), stems, strict=True):
        name = str(relative) if stems.count(stem) > 1 else stem
        if name in named:
            raise DataError(
                f"{named[name]} and {path} would both be written as {name}: give the folder that holds both, or run "
                "them into two --out folders."
            )
        named[name] = path
    return [(path, name) for name, path in named.items()]
