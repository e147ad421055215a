"""The images that `vitseg predict` is given: files, folders, patterns, lists, addresses and Parquet files."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vitseg.cli.inputs import files_of, prediction_names
from vitseg.errors import ConfigError, DataError, first_names
from vitseg.images.suffixes import is_image_name
from vitseg.inference.targets import FileTarget, ParquetTarget, RemoteTarget, Target

LIST, PARQUET = ".txt", ".parquet"
"""Suffixes of files that name or hold images."""


@dataclass(frozen=True)
class _Found:
    """An image without a name yet.

    Attributes:
        key: By which it counts once, in however many ways it is reached.
        image: What messages call it.
        below: Path or id that its name is made of.
        named: Makes the target.
        is_row: Whether it is a row of a file, and has its own name there.
    """

    key: str
    image: str
    below: Path
    named: Callable[[str], Target]
    is_row: bool = False

    def naming(self) -> tuple[str, str, str]:
        """As `prediction_names` takes it; a point in an id is none before a suffix."""
        is_file = not self.is_row or is_image_name(self.below.name)
        stem = self.below.with_suffix("") if is_file else self.below
        return self.image, str(self.below), str(stem)


def find_targets(inputs: Sequence[str]) -> list[Target]:
    """The images with the names of their predictions, in the order of the inputs.

    A list has an input on each line, and stands for these.

    Raises:
        DataError: An input does not exist, cannot be read or holds no image, or two images would get the same name.
        ConfigError: The package is missing that reads such an input.
    """
    found: dict[str, _Found] = {}
    for text in inputs:
        for each in _found(text):
            found[each.key] = each
    if not found:
        raise DataError(f"{first_names(inputs)}: there is no image in any row.")
    names = prediction_names([each.naming() for each in found.values()])
    return [each.named(name) for each, name in zip(found.values(), names, strict=True)]


def require_files(targets: Sequence[Target]) -> None:
    """Raise ConfigError where an image is in no file of its own, of which windows could be read."""
    other = next((each.image for each in targets if not isinstance(each, FileTarget)), None)
    if other is not None:
        raise ConfigError(
            f"--tiles reads windows of files, and {other} is none: save it as a file, and give that."
        )


def _found(text: str) -> Iterator[_Found]:
    from vitseg.inference.remote_images import is_address

    if is_address(text):
        yield from _at_address(text)
    elif text.lower().endswith(LIST) and os.path.isfile(text):
        for line in _lines(Path(text)):
            for each in _named_in(text, line):
                yield each if each.is_row else replace(each, below=_path_in(each.image))
    else:
        for path, below in files_of(text):
            if path.suffix.lower() == PARQUET:
                stat = path.stat()
                yield from _rows(str(path), f"{stat.st_size} {stat.st_mtime_ns}")
            else:
                yield _Found(os.path.abspath(path), str(path), below, partial(FileTarget, path))


def _named_in(file: str, line: str) -> Iterator[_Found]:
    """What a line of a list stands for; an error names the list."""
    try:
        yield from _found(line)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _lines(file: Path) -> list[str]:
    """The inputs that a list names; lines that begin with # are none."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise DataError(
            f"{file} names no image: a list has a file, folder or address on each line."
        )
    inner = next((line for line in found if line.lower().endswith(LIST)), None)
    if inner is not None:
        raise DataError(f"{file} names {inner}, a list itself: give each list on the command line.")
    return found


def _at_address(address: str) -> Iterator[_Found]:
    from vitseg.inference.remote_images import list_objects

    for listed in list_objects(address):
        if listed.address.lower().endswith(PARQUET):
            yield from _rows(listed.address, f"{listed.num_bytes} {listed.version}")
            continue
        make = partial(
            _remote, image=listed.address, version=listed.version, num_bytes=listed.num_bytes
        )
        yield _Found(listed.address, listed.address, _path_in(listed.below), make)


def _remote(name: str, image: str, version: str, num_bytes: int | None) -> RemoteTarget:
    return RemoteTarget(image, name, version, num_bytes)


def _rows(file: str, version: str) -> Iterator[_Found]:
    from vitseg.inference.parquet_images import Row, list_rows

    def named(row: Row, name: str) -> ParquetTarget:
        return ParquetTarget(f"{file}#{row.id}", name, file, row.group, row.row, version)

    for row in list_rows(file):
        key = f"{os.path.abspath(file)} {row.group} {row.row}"
        yield _Found(key, f"{file}#{row.id}", _path_in(row.id), partial(named, row), is_row=True)


def _path_in(text: str) -> Path:
    """A path below the folder of the masks that is made of a path, an id or an address."""
    path = posixpath.normpath("/" + re.sub(r"^[A-Za-z][\w.+-]*://", "", text)).lstrip("/")
    if not path:
        raise DataError(f"{text!r} names no file, by which a prediction could be named.")
    return Path(path)
