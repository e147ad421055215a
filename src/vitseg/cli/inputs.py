"""The images that `predict`, `explain` and `profile` are given: files, folders and patterns."""

from __future__ import annotations

import glob
from pathlib import Path

from vitseg.errors import DataError


def find_inputs(inputs: list[str]) -> list[tuple[Path, str]]:
    """Image files with the names of their predictions (path below a given folder, without suffix).

    Raises:
        DataError: An input does not exist, a folder holds no image, or two images would get the same name.
    """
    from vitseg.images.decode import IMAGE_SUFFIXES

    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            images = [p for p in sorted(path.rglob("*")) if _is_image(p, IMAGE_SUFFIXES)]
            if not images:
                raise DataError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
            found.update({image: image.relative_to(path) for image in images})
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [match for match in matches if match.is_file()]
            if not files:
                raise DataError(f"{text} is no file, no folder, and matches no file as a pattern.")
            found.update({file: Path(file.name) for file in files})
    return _named(found)


def _is_image(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


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
