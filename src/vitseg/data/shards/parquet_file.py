"""An open Parquet file: its columns of pictures, and their row groups."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Int64

from vitseg.data.shards.place import NEEDS_PYARROW, ShardPlace
from vitseg.errors import DataError, first_line, unknown_name

_FOOTER_TAIL = 8  # bytes: the length of the footer, and a magic number


def require_pyarrow(what: str) -> Any:
    """The library.

    Args:
        what: What needs it, for the error.

    Raises:
        DataError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{what} {NEEDS_PYARROW}") from None
    return pyarrow


class ParquetShard:
    """One Parquet file, open.

    Args:
        place: Where it lies.
        name: Its name.

    Raises:
        DataError: It is missing, cut off, or no Parquet file.
    """

    def __init__(self, place: ShardPlace, name: str) -> None:
        pyarrow = require_pyarrow("parquet:")
        self._named = place.named(name)
        self._file = place.open(name)
        try:
            self._parquet = pyarrow.parquet.ParquetFile(self._file)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            self._file.close()
            size = place.size(name)
            what = (
                "is empty" if size == 0 else f"is cut off or no Parquet file ({first_line(error)})"
            )
            raise DataError(f"{self._named} {what}. Copy it again.") from error
        meta = self._parquet.metadata
        counts = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self.starts: Int64[np.ndarray, " g"] = np.cumsum([0, *counts])

    @property
    def num_rows(self) -> int:
        return int(self.starts[-1])

    @property
    def schema(self) -> Any:
        return self._parquet.schema_arrow

    def close(self) -> None:
        self._parquet.close(force=True)
        self._file.close()

    def leaf(self, column: str, needed: str) -> str:
        """The name by which the bytes of a column of pictures are read.

        Args:
            column: The column: of bytes, or of structs with a field `bytes` (as Hugging Face data sets have them).
            needed: What it is needed for, `image` or `mask`.

        Raises:
            DataError: There is no such column, or it holds something else.
        """
        types = self._require_pyarrow().types
        if column not in self.schema.names:
            known = unknown_name("column", column, self.schema.names)
            raise DataError(f"{self._named}: {needed}={column}: {known}")
        kind = self.schema.field(column).type
        if _is_bytes(kind, types):
            return column
        if types.is_struct(kind):
            place = kind.get_field_index("bytes")
            if place >= 0 and _is_bytes(kind.field(place).type, types):
                return f"{column}.bytes"
        raise DataError(
            f"{self._named}: the column {column} holds {kind}, but {needed}s are encoded pictures: binary, or a struct "
            "with binary bytes."
        )

    def is_pictures(self, column: str) -> bool:
        """Whether a column may hold pictures, by its type."""
        try:
            self.leaf(column, "image")
        except DataError:
            return False
        return True

    def column(self, name: str) -> list[Any]:
        """All values of a small column."""
        table = self._reading(lambda: self._parquet.read([name], use_threads=False))
        return table.column(name).to_pylist()

    def group_of(self, row: int) -> int:
        """The row group that a row is in.

        Raises:
            DataError: There is no such row.
        """
        if row >= self.num_rows:
            raise DataError(
                f"{self._named} has {self.num_rows} rows, but one more is listed. Copy it again."
            )
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def values(self, group: int, leaf: str) -> Any:
        """The bytes of a column in a row group, as an array of pyarrow.

        Raises:
            DataError: They cannot be read.
        """
        table = self._reading(
            lambda: self._parquet.read_row_group(group, columns=[leaf], use_threads=False)
        )
        column = table.column(0).combine_chunks()
        if column.type.num_fields:  # of the struct only this field was read
            column = column.flatten()[0]
        return column

    def empty_rows(self, leaf: str) -> list[int]:
        """The rows without bytes, where the statistics of the file tell of any: others are not looked through."""
        found: list[int] = []
        meta = self._parquet.metadata
        for group in range(meta.num_row_groups):
            if _num_empty(meta.row_group(group), leaf):
                values = self.values(group, leaf)
                start = int(self.starts[group])
                found += [start + row for row, value in enumerate(values) if not value.is_valid]
        return found

    def largest_group(self) -> int:
        """Bytes of the largest row group, which is read for a single cell."""
        meta = self._parquet.metadata
        sizes = (meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
        return max(sizes, default=0)

    def digest(self) -> bytes:
        """A digest of the footer, which has the places and sizes of all that is in the file."""
        meta = self._parquet.metadata
        length = meta.serialized_size
        end = self._file.seek(0, 2)
        self._file.seek(max(0, end - length - _FOOTER_TAIL))
        return hashlib.blake2b(self._file.read(length + _FOOTER_TAIL), digest_size=8).digest()

    def _reading(self, read: Any) -> Any:
        pyarrow = self._require_pyarrow()
        try:
            return read()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{self._named} is damaged or cut off: {first_line(error)}. Copy it again."
            ) from error

    def _require_pyarrow(self) -> Any:
        return require_pyarrow(self._named)


def _is_bytes(kind: Any, types: Any) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind)


def _num_empty(group: Any, leaf: str) -> int:
    """Empty cells of a column in a row group, by its statistics; 0 where it has none."""
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == leaf:
            statistics = column.statistics
            return (statistics.null_count or 0) if statistics is not None else 0
    return 0
