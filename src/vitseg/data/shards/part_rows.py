"""Rows whose cells are known by their places in the shards: any of them is read by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import IMAGE, MASK, ShardRows, digest_of
from vitseg.errors import DataError

_WHOLE, _PIECE = 1 << 16, 1 << 14
"""Bytes up to which an image is hashed whole, and of each of the three pieces of a larger one."""

_BYTES = 8


class PartRows(ShardRows):
    """Rows whose cells are parts of shards.

    Args:
        place: Where the shards lie.
        shards: Their names.
        shard_of: The shard of each row.
        parts: Column -> start and size of each row's cell; of size 0 where it is empty.
        ids: The ids, for messages.
        digests: Column -> digest of each row's cell, where they were noted: cells are compared with them.
    """

    def __init__(
        self,
        place: ShardPlace,
        shards: Sequence[str],
        shard_of: Int64[np.ndarray, " n"],
        parts: Mapping[str, Int64[np.ndarray, "n 2"]],
        ids: Sequence[str],
        digests: Mapping[str, Sequence[bytes]] | None = None,
    ) -> None:
        self._place, self._shards, self._shard_of = place, shards, shard_of
        self._parts, self._ids, self._digests = parts, ids, digests

    def __len__(self) -> int:
        return len(self._ids)

    def has(self, column: str) -> bool:
        return column in self._parts

    def cell(self, row: int, column: str) -> bytes | None:
        start, size = self._parts[column][row].tolist()
        if size == 0:
            return None
        content = self._place.read_part(self._shard(row), start, size)
        if self._digests is not None and digest_of(content) != self._digests[column][row]:
            raise DataError(
                f"the {column} of {self.name(row)} is not what was written: copy the shard and its index again, or "
                "write the shards anew."
            )
        return content

    def name(self, row: int) -> str:
        return f"{self._place.named(self._shard(row))}: {self._ids[row]}"

    def stamp(self, row: int) -> bytes:
        """Of the noted digests; else of the mask and of pieces of the image, elsewhere of places and sizes."""
        digest = hashlib.blake2b(digest_size=_BYTES)
        if self._digests is not None:
            for _, noted in sorted(self._digests.items()):
                digest.update(noted[row] or bytes(_BYTES))
            return digest.digest()
        digest.update(b"".join(part[row].tobytes() for part in self._parts.values()))
        if self._place.is_local:
            start, size = self._parts[IMAGE][row].tolist()
            pieces = [(start, size)]
            if size > _WHOLE:
                places = (0, (size - _PIECE) // 2, size - _PIECE)
                pieces = [(start + each, _PIECE) for each in places]
            for each in (*pieces, tuple(self._parts[MASK][row].tolist())):
                digest.update(self._place.read_part(self._shard(row), *each))
        return digest.digest()

    def _shard(self, row: int) -> str:
        return self._shards[int(self._shard_of[row])]
