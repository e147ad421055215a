"""One shard being written: a tar file or a Parquet file, and what its index says."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from vitseg.data.formats.parquet import ABOUT, ID_COLUMN
from vitseg.data.shards.about import About, ShardKind
from vitseg.data.shards.encode import EncodedSample
from vitseg.data.shards.parquet_file import require_pyarrow
from vitseg.data.shards.rows import IMAGE, MASK, extra_column

GROUP_BYTES = 8 << 20
"""Bytes of images and masks in a row group, which is what others read at once."""

SUFFIXES: dict[ShardKind, str] = {"parquet": ".parquet", "webdataset": ".tar"}


class ShardWriter(Protocol):
    """A shard that is being written."""

    def add(self, sample: EncodedSample) -> None:
        """Write a sample behind the others."""
        ...

    def close(self) -> None:
        """Write the end of the file, which is a whole one from then on."""
        ...

    def abort(self) -> None:
        """Leave the file as it is."""
        ...

    @property
    def parts(self) -> dict[str, list[tuple[int, int]]]:
        """Column -> start and size of each sample's part, once the file is whole."""
        ...


class TarWriter:
    """A tar file of the samples' files: `ID.jpg`, `ID.mask.png`.

    Args:
        path: The file.
        about: What its samples have.
    """

    def __init__(self, path: Path, about: About) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self.columns = (IMAGE, MASK, *map(extra_column, about.extra_images))
        self.parts: dict[str, list[tuple[int, int]]] = {column: [] for column in self.columns}

    def add(self, sample: EncodedSample) -> None:
        for column in self.columns:
            part = sample.parts.get(column)
            if part is None:
                self.parts[column].append((0, 0))
                continue
            word = "" if column == IMAGE else f".{column}"
            info = tarfile.TarInfo(f"{tar_key(sample.id)}{word}{part.suffix}")
            info.size = len(part.content)
            self._tar.addfile(info, io.BytesIO(part.content))
            padded = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            self.parts[column].append((self._tar.offset - padded, info.size))

    def close(self) -> None:
        self._tar.close()

    def abort(self) -> None:
        assert self._tar.fileobj is not None
        self._tar.fileobj.close()


def tar_key(sample_id: str) -> str:
    """An id as the name of members: other readers take all from its first dot on for the kind of a member."""
    return sample_id.replace("%", "%25").replace(".", "%2E")


class ParquetWriter:
    """A Parquet file with the columns that Hugging Face data sets have.

    Its cells are stored as they are, without compression, so that each lies in one piece somewhere in the file.

    Args:
        path: The file.
        about: What its samples have; it is kept in the file, too.
    """

    def __init__(self, path: Path, about: About) -> None:
        self._arrow = require_pyarrow("parquet shards")
        self._path = path
        self.columns = (IMAGE, MASK, *map(extra_column, about.extra_images))
        self.parts: dict[str, list[tuple[int, int]]] = {column: [] for column in self.columns}
        self._schema = self._schema_of(about)
        self._writer = self._arrow.parquet.ParquetWriter(
            path,
            self._schema,
            compression="NONE",  # pictures are compressed already
            use_dictionary=False,
            write_statistics=[ID_COLUMN, "height", "width"],
        )
        self._rows: list[EncodedSample] = []
        self._held = 0

    def add(self, sample: EncodedSample) -> None:
        if self._rows and self._held + sample.num_bytes > GROUP_BYTES:
            self._flush()
        self._rows.append(sample)
        self._held += sample.num_bytes

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._find_parts()

    def abort(self) -> None:
        self._rows = []
        with suppress(OSError):  # the disk may be full
            self._writer.close()

    def _find_parts(self) -> None:
        """Find each cell in the file, by its content."""
        with self._path.open("rb") as file, self._arrow.parquet.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                meta = parquet.metadata.row_group(group)
                places = {meta.column(n).path_in_schema: n for n in range(meta.num_columns)}
                for column in self.columns:
                    leaf = f"{column}.bytes"
                    chunk = meta.column(places[leaf])
                    table = parquet.read_row_group(group, columns=[leaf], use_threads=False)
                    file.seek(chunk.data_page_offset)
                    stored = file.read(chunk.total_compressed_size)
                    cells = [cell and cell["bytes"] for cell in table.column(0).to_pylist()]
                    self.parts[column] += _places(cells, stored, chunk.data_page_offset)

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = [self._row(sample) for sample in self._rows]
        table = self._arrow.Table.from_pylist(rows, self._schema)
        self._writer.write_table(table, row_group_size=len(rows))
        self._rows, self._held = [], 0

    def _row(self, sample: EncodedSample) -> dict[str, Any]:
        spelt = sample.id.encode(errors="backslashreplace").decode()
        row: dict[str, Any] = {ID_COLUMN: spelt, "height": sample.size[0], "width": sample.size[1]}
        for column in self.columns:
            part = sample.parts.get(column)
            row[column] = part and {"bytes": part.content, "path": f"{spelt}{part.suffix}"}
        return row

    def _schema_of(self, about: About) -> Any:
        arrow = self._arrow
        picture = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        fields = [(ID_COLUMN, arrow.string()), ("height", arrow.int32()), ("width", arrow.int32())]
        fields += [(column, picture) for column in self.columns]
        features: dict[str, dict[str, str]] = {
            name: {"dtype": str(kind), "_type": "Value"} for name, kind in fields[:3]
        }
        features |= {column: {"_type": "Image"} for column in self.columns}
        metadata = {
            ABOUT: about.model_dump_json(),
            b"huggingface": json.dumps({"info": {"features": features}}),
        }
        return arrow.schema(fields, metadata)


def _places(cells: Sequence[bytes | None], stored: bytes, start: int) -> list[tuple[int, int]]:
    """Start and size of cells within what is stored of a column of a row group; (0, 0) for an empty cell.

    Args:
        cells: The cells, in their order.
        stored: The bytes of the column.
        start: Where these begin in the file.
    """
    found, at = [], 0
    for cell in cells:
        if not cell:
            found.append((0, 0))
            continue
        place = stored.find(cell, at)
        assert place >= 0, "cells are stored as they are"
        found.append((start + place, len(cell)))
        at = place + len(cell)
    return found


WRITERS: dict[ShardKind, type[TarWriter] | type[ParquetWriter]] = {
    "parquet": ParquetWriter,
    "webdataset": TarWriter,
}
