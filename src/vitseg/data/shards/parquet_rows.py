"""Rows of Parquet files, of whose cells nobody has noted the places."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from vitseg.data.shards.open_files import OpenFiles
from vitseg.data.shards.parquet_file import ParquetShard
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import ShardRows


class ParquetRows(ShardRows):
    """Rows of Parquet files, of which a few stay open.

    A row group is read at once, and the last one of each column is kept: samples in their order read each group once.

    Args:
        place: Where the shards lie.
        shards: Their names.
        shard_of: The shard of each row.
        row_in: Which row of its shard each row is, from 0.
        leaves: Column -> name by which its bytes are read.
        footers: Digests of the shards' footers.
    """

    def __init__(
        self,
        place: ShardPlace,
        shards: Sequence[str],
        shard_of: Int64[np.ndarray, " n"],
        row_in: Int64[np.ndarray, " n"],
        leaves: Mapping[str, str],
        footers: Sequence[bytes],
    ) -> None:
        self._place, self._shards = place, shards
        self._shard_of, self._row_in = shard_of, row_in
        self._leaves, self._footers = leaves, footers
        self._open = OpenFiles(self._open_shard)
        self._kept: dict[str, tuple[str, int, Any]] = {}  # leaf -> the row group that was read last

    def __len__(self) -> int:
        return len(self._shard_of)

    def has(self, column: str) -> bool:
        return column in self._leaves

    def cell(self, row: int, column: str) -> bytes | None:
        name, at, leaf = self._shard(row), int(self._row_in[row]), self._leaves[column]
        with self._open.use(name) as shard:
            group = shard.group_of(at)
            kept = self._kept.get(leaf)
            if kept is None or kept[:2] != (name, group):
                self._kept.pop(leaf, None)  # of two large groups only one is held
                kept = self._kept[leaf] = (name, group, shard.values(group, leaf))
            return kept[2][at - int(shard.starts[group])].as_py() or None

    def name(self, row: int) -> str:
        return f"{self._place.named(self._shard(row))} row {int(self._row_in[row])}"

    def stamp(self, row: int) -> bytes:
        """A digest of the footer of its shard and of the row's number."""
        place = self._footers[int(self._shard_of[row])] + self._row_in[row].tobytes()
        return hashlib.blake2b(place, digest_size=8).digest()

    def __getstate__(self) -> dict[str, object]:
        """Without what was read: it is read again where it is needed."""
        return {**self.__dict__, "_kept": {}}

    def _open_shard(self, name: str) -> ParquetShard:
        return ParquetShard(self._place, name)

    def _shard(self, row: int) -> str:
        return self._shards[int(self._shard_of[row])]
