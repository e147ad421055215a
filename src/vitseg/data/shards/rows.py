"""The samples of a split that lies in shards: rows of cells, each the content of a file."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vitseg.data.stored import StoredImages
from vitseg.errors import DataError
from vitseg.images.decode import decode_color_mask, decode_mask, read_header
from vitseg.images.sources import StoredPicture
from vitseg.types import Size

IMAGE, MASK = "image", "mask"
"""Columns of every row."""


def extra_column(folder: str) -> str:
    """The column of a further picture of each image, by the name of its folder."""
    return f"extra_{folder}"


def digest_of(content: bytes) -> bytes:
    """What is noted of a cell when it is written."""
    return hashlib.blake2b(content, digest_size=8).digest()


class ShardRows(ABC):
    """The rows of a split, in the order of its shards."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def has(self, column: str) -> bool:
        """Whether there is such a column."""

    @abstractmethod
    def cell(self, row: int, column: str) -> bytes | None:
        """The content of one cell; None where it is empty.

        Raises:
            DataError: The shard is missing, cut off or damaged; the message names it, and the row.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """A row for messages: its shard, and which one it is there."""

    @abstractmethod
    def stamp(self, row: int) -> bytes:
        """A digest of a few bytes that is another where a row's content is."""

    def content(self, row: int, column: str) -> bytes:
        """The content of a cell that must not be empty; errors as for `cell`."""
        content = self.cell(row, column)
        if content is None:
            raise DataError(f"{self.name(row)} has no {column}: remove it, or add what is missing.")
        return content


class ShardImages(StoredImages):
    """The images of rows."""

    def __init__(self, rows: ShardRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, index: int) -> bytes:
        def extra(folder: str) -> bytes | None:
            column = extra_column(folder)
            if not self._rows.has(column):
                return None
            content = self._rows.cell(index, column)
            named = f"{column} of {self._rows.name(index)}"
            return None if content is None else StoredPicture(content, named)

        return StoredPicture(self._rows.content(index, IMAGE), self._rows.name(index), extra)

    def name(self, index: int) -> str:
        return self._rows.name(index)

    def stamp(self, index: int) -> bytes:
        return self._rows.stamp(index)


class ShardMasks:
    """The masks of rows: pictures of ids, or of colours."""

    are_pictures = False  # none of them is a file

    def __init__(self, rows: ShardRows, colors: bool) -> None:
        self._rows = rows
        self._colors = colors

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        content = self._picture(index)
        try:
            return decode_color_mask(content) if self._colors else decode_mask(content)
        except DataError as error:
            if content.name in str(error):
                raise
            raise DataError(f"{content.name}: {error}") from error

    def files(self, index: int) -> tuple[Path, ...]:
        return ()

    def own_turn(self, index: int) -> int:
        return read_header(self._picture(index)).orientation

    def _picture(self, index: int) -> StoredPicture:
        return StoredPicture(
            self._rows.content(index, MASK), f"the mask of {self._rows.name(index)}"
        )


def in_colors(rows: ShardRows) -> bool:
    """Whether the first mask is a picture in colours."""
    try:
        first = rows.cell(0, MASK) if len(rows) else None
        return first is not None and read_header(first).mode in ("RGB", "RGBA")
    except DataError:  # reported when that row is read
        return False


def numbered_ids(count: int) -> list[str]:
    """Ids of rows that have none."""
    return [f"row-{index:06d}" for index in range(count)]


def twice_in(ids: Sequence[Hashable]) -> list[int]:
    """The rows whose id another row before has."""
    seen: set[Hashable] = set()
    found = []
    for row, each in enumerate(ids):
        if each in seen:
            found.append(row)
        seen.add(each)
    return found
