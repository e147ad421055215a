"""What `vitseg predict` is to segment: files, objects behind an address, and rows of Parquet files.

Nothing here imports torch, pyarrow or fsspec; what a place needs is imported where such a place is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from vitseg.errors import DataError
from vitseg.images.read_files import state_of


@dataclass(frozen=True)
class FileTarget:
    """An image in a file.

    Attributes:
        path: The file, as it was found.
        name: Name of its prediction, without suffix.
    """

    path: Path
    name: str

    @property
    def image(self) -> str:
        """What its record calls the image."""
        return str(self.path)

    def stamp(self, extra_images: Sequence[str]) -> tuple[int | str, ...] | None:
        """What changes with its content, and that of further files it is read from; None where it cannot be looked at.

        Args:
            extra_images: Names of the folders of its extra images.
        """
        try:
            return state_of(self.path, extra_images)
        except OSError:  # predicting it will say what is wrong
            return None


@dataclass(frozen=True)
class RemoteTarget:
    """An image behind an address, as `s3://bucket/photo.jpg`.

    Attributes:
        image: The address.
        name: Name of its prediction, without suffix.
        version: What the store said of its state when it was listed.
        num_bytes: Its size; None where the store does not say it.
    """

    image: str
    name: str
    version: str
    num_bytes: int | None

    def stamp(self, extra_images: Sequence[str]) -> tuple[int | str, ...]:
        """What changes with its content; extra images it has none."""
        return self.num_bytes or 0, self.version


@dataclass(frozen=True)
class ParquetTarget:
    """An encoded image in a row of a Parquet file.

    Attributes:
        image: What its record calls the image: file and id.
        name: Name of its prediction, without suffix.
        file: Path or address of the file.
        group: Row group.
        row: Row in it.
        version: Of the file's state when it was listed.
    """

    image: str
    name: str
    file: str
    group: int
    row: int
    version: str

    def stamp(self, extra_images: Sequence[str]) -> tuple[int | str, ...]:
        """What changes with its content; extra images it has none."""
        return self.version, self.group, self.row


Target = FileTarget | RemoteTarget | ParquetTarget
"""An image and the name of its prediction."""

Content = bytes | DataError | None
"""An image that was read, or why it could not be; None of a file, which whoever decodes it reads."""


def pieces(targets: Iterable[Target], most: int) -> Iterator[list[Target]]:
    """The targets in their order, parted so that a row group of a Parquet file stays whole.

    Args:
        targets: Images.
        most: Others that a piece has at most.
    """
    for place, group in groupby(targets, _row_group):
        members = list(group)
        step = len(members) if place is not None else most
        for start in range(0, len(members), step):
            yield members[start : start + step]


def _row_group(target: Target) -> tuple[str, int] | None:
    return (target.file, target.group) if isinstance(target, ParquetTarget) else None


def read_all(targets: Sequence[Target]) -> Iterator[tuple[Target, Content]]:
    """Each target with its content, in their order, one after the other."""
    for place, members in groupby(targets, _row_group):
        if place is not None:
            from vitseg.inference.parquet_images import read_rows

            yield from read_rows([each for each in members if isinstance(each, ParquetTarget)])
            continue
        for each in members:
            yield each, _read(each)


def _read(target: Target) -> Content:
    if not isinstance(target, RemoteTarget):
        return None
    from vitseg.inference.remote_images import read_object

    try:
        return read_object(target)
    except DataError as error:
        return error
