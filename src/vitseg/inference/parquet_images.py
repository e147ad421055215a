"""Encoded images in rows of Parquet files: a column with an id, and one with the bytes of a picture's file."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from vitseg.errors import ConfigError, DataError, VitsegError, first_line
from vitseg.inference.remote_images import is_address, open_object
from vitseg.inference.targets import Content, ParquetTarget

IMAGE, IDS = "image", ("id", "path")
"""Columns of the bytes, which may be in a field `bytes` within it, as `datasets` writes it; and of the id."""

_ROWS_AT_ONCE = 8
_BUFFER = 1 << 20


class Row(NamedTuple):
    """A row of a Parquet file.

    Attributes:
        group: Row group.
        row: Row in it.
        id: What the file calls it.
    """

    group: int
    row: int
    id: str


def list_rows(file: str) -> list[Row]:
    """The rows of a file; their images stay unread.

    Args:
        file: Path or address.

    Raises:
        DataError: It cannot be read, has no column with ids or with images, or a row without an id.
        ConfigError: A package that reads it is missing.
    """
    with _opened(file) as parquet:
        column = _id_column(parquet, file)
        _image_column(parquet, file)
        return [
            Row(group, row, _checked(value, file, group, row))
            for group in range(parquet.num_row_groups)
            for row, value in enumerate(_flat(parquet.read_row_group(group, columns=[column])))
        ]


def read_rows(targets: Sequence[ParquetTarget]) -> Iterator[tuple[ParquetTarget, Content]]:
    """The images of rows of one row group, a few at a time; what cannot be read is an error of each row of it.

    Args:
        targets: Rows, in ascending order.
    """
    left = list(targets)
    try:
        with _opened(left[0].file) as parquet:
            for row, value in enumerate(_images(parquet, left[0].file, left[0].group)):
                if left and left[0].row == row:
                    target = left.pop(0)
                    yield target, _content(value, target)
                if not left:
                    return
        reason = "the file has fewer rows than when it was listed"
    except (DataError, ConfigError) as error:
        reason = str(error)
    for each in left:
        yield each, DataError(f"{each.image} cannot be read: {reason}.")


def _content(value: Any, target: ParquetTarget) -> Content:
    if isinstance(value, bytes) and value:
        return value
    return DataError(f"{target.image} has no image: the row's {IMAGE} is empty.")


def _images(parquet: Any, file: str, group: int) -> Iterator[Any]:
    column = _image_column(parquet, file)
    batches = parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column])
    for batch in batches:
        yield from _flat(batch)


def _flat(table: Any) -> list[Any]:
    """The values of the only column; of a column with fields, those of the only one that was read."""
    values: list[Any] = table.column(0).to_pylist()
    return [_only_field(value) for value in values]


def _only_field(value: Any) -> Any:
    return next(iter(cast("dict[str, Any]", value).values())) if isinstance(value, dict) else value


def _module(name: str) -> Any:
    """A module of pyarrow, which states no types."""
    return importlib.import_module(name)


@contextmanager
def _opened(file: str) -> Generator[Any, None, None]:
    """A Parquet file; within it, what the library or the store says becomes a `DataError`."""
    try:
        arrow, library = _module("pyarrow"), _module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"{file} is read by pyarrow, which is not installed: pip install 'vitseg[shards]'."
        ) from error
    try:
        if is_address(file):
            with (
                open_object(file) as source,
                library.ParquetFile(source, buffer_size=_BUFFER) as parquet,
            ):
                yield parquet
        else:
            with library.ParquetFile(file, buffer_size=_BUFFER) as parquet:
                yield parquet
    except VitsegError:
        raise
    except Exception as error:
        if not (is_address(file) or isinstance(error, arrow.ArrowException | OSError)):
            raise  # each store's client has errors of its own, while it is read, too
        raise DataError(f"{file} cannot be read as Parquet: {first_line(error)}") from error


def _id_column(parquet: Any, file: str) -> str:
    kinds = _module("pyarrow.types")
    schema = parquet.schema_arrow
    for name in IDS:
        index = schema.get_field_index(name)
        if index >= 0:
            kind = schema.field(index).type
            if not (kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_integer(kind)):
                raise DataError(
                    f"{file}: its column {name} has values of type {kind}, but ids are texts or whole numbers."
                )
            return name
    if (field := _field(parquet, "path")) is not None and kinds.is_string(field.type):
        return f"{IMAGE}.path"
    raise _lacks(parquet, file, f"ids ({' or '.join(IDS)})")


def _image_column(parquet: Any, file: str) -> str:
    schema = parquet.schema_arrow
    index = schema.get_field_index(IMAGE)
    if index >= 0 and _is_binary(schema.field(index).type):
        return IMAGE
    if (field := _field(parquet, "bytes")) is not None and _is_binary(field.type):
        return f"{IMAGE}.bytes"
    raise _lacks(parquet, file, f"encoded images ({IMAGE})")


def _is_binary(kind: Any) -> bool:
    kinds = _module("pyarrow.types")
    return kinds.is_binary(kind) or kinds.is_large_binary(kind)


def _field(parquet: Any, name: str) -> Any:
    """A field within the column of the images; None where it has none of that name."""
    kinds = _module("pyarrow.types")
    schema = parquet.schema_arrow
    index = schema.get_field_index(IMAGE)
    if index < 0 or not kinds.is_struct(schema.field(index).type):
        return None
    kind = schema.field(index).type
    place = kind.get_field_index(name)
    return kind.field(place) if place >= 0 else None


def _lacks(parquet: Any, file: str, what: str) -> DataError:
    columns = ", ".join(f"{field.name} ({field.type})" for field in parquet.schema_arrow)
    return DataError(f"{file} has no column of {what}. It has: {columns}.")


def _checked(value: Any, file: str, group: int, row: int) -> str:
    text = "" if value is None else str(value)
    if not text or "\0" in text:
        raise DataError(
            f"{file}: row {row} of row group {group} has {'no id' if not text else 'an id with a zero byte'}, by which "
            "its prediction could be named."
        )
    return text
