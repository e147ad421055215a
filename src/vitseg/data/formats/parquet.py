"""Parquet files with a column of encoded images and one of encoded masks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from vitseg.data.finding import Finding
from vitseg.data.formats.huggingface import IMAGE_COLUMNS, LABEL_COLUMNS
from vitseg.data.shards.about import About, about_of
from vitseg.data.shards.parquet_file import ParquetShard, require_pyarrow
from vitseg.data.shards.parquet_rows import ParquetRows
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import (
    IMAGE,
    MASK,
    extra_column,
    numbered_ids,
    twice_in,
)
from vitseg.data.shards.shard_faults import damaged_shards, lacking, same_ids
from vitseg.data.shards.shard_format import FoundRows, ShardFormat
from vitseg.data.shards.shard_root import OPTIONS, ShardRoot
from vitseg.errors import DataError, unknown_name

ABOUT = b"vitseg"
"""Key of the schema's metadata under which shards tell of their split."""

ID_COLUMN = "id"
LARGE_GROUP = 16 << 20
"""Bytes of a row group above which single samples are slow to read."""

_THREADS = 8


class _Footer(NamedTuple):
    """What the end of a Parquet file says, and its ids.

    Attributes:
        num_rows: Rows.
        ids: Their ids; None: it has none.
        leaves: Column -> name by which its bytes are read.
        empty: Column -> rows that are known to have nothing in it.
        digest: Digest of the footer.
        largest_group: Bytes of its largest row group.
        about: What it says of its split.
    """

    num_rows: int
    ids: list[str] | None
    leaves: dict[str, str]
    empty: dict[str, list[int]]
    digest: bytes
    largest_group: int
    about: About | None


class Parquet(ShardFormat):
    """Parquet files: columns of bytes, or of Hugging Face's images, in row groups that are read as a whole."""

    name = kind = "parquet"
    suffix = ".parquet"
    summary = "Parquet files of encoded images and masks, in a folder or an object store"
    options = OPTIONS

    def found(self, place: ShardPlace, shards: Sequence[str], root: ShardRoot) -> FoundRows:
        require_pyarrow("parquet:")
        with ThreadPoolExecutor(_THREADS) as pool:
            read = list(pool.map(lambda name: _footer(place, name, root), shards))
        faults = [footer for footer in read if isinstance(footer, str)]
        footers = [
            (name, footer)
            for name, footer in zip(shards, read, strict=True)
            if isinstance(footer, _Footer)
        ]
        findings: list[Finding] = [damaged_shards(place, faults)] if faults else []
        if not footers:
            raise DataError(findings[0].message)
        names = [name for name, _ in footers]
        leaves = footers[0][1].leaves
        for name, footer in footers:
            if footer.leaves != leaves:
                raise DataError(
                    f"{place.named(name)} has other columns of images and masks than {names[0]}: name those that all "
                    "shards have."
                )
        shard_of, row_in, ids = _rows_of([footer for _, footer in footers])
        for column in (IMAGE, MASK):
            empty = [f"{n} row {row}" for n, footer in footers for row in footer.empty[column]]
            findings += lacking(column, empty)
        findings += same_ids(
            [f"{names[shard_of[row]]} row {row_in[row]} ({ids[row]})" for row in twice_in(ids)]
        )
        findings += _large_groups(place, [footer for _, footer in footers])
        digests = [footer.digest for _, footer in footers]
        rows = ParquetRows(place, names, shard_of, row_in, leaves, digests)
        words = f"images in column {leaves[IMAGE]}, masks in column {leaves[MASK]}"
        about = None if root.classes is not None else footers[0][1].about
        return FoundRows(rows, ids, words, tuple(findings), about)


def _rows_of(footers: Sequence[_Footer]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The shard of each row that is used, which row of it, and the ids."""
    shard_of, row_in, ids = [], [], []
    numbered = any(footer.ids is None for footer in footers)
    for number, footer in enumerate(footers):
        left_out = {row for rows in footer.empty.values() for row in rows}
        kept = [row for row in range(footer.num_rows) if row not in left_out]
        shard_of += [number] * len(kept)
        row_in += kept
        if not numbered and footer.ids is not None:
            ids += [footer.ids[row] for row in kept]
    if numbered:
        ids = numbered_ids(len(row_in))
    return np.array(shard_of, np.int64), np.array(row_in, np.int64), ids


def _footer(place: ShardPlace, name: str, root: ShardRoot) -> _Footer | str:
    """What a file says of itself; or why it cannot be read.

    Raises:
        DataError: Its columns are not clear, or hold something else.
    """
    try:
        shard = ParquetShard(place, name)
    except DataError as error:
        what = str(error).removeprefix(place.named(name)).removesuffix(" Copy it again.")
        return f"{name}{what.removesuffix('.')}"
    try:
        about = (shard.schema.metadata or {}).get(ABOUT)
        extra = () if about is None else about_of(about, place.named(name)).extra_images
        leaves = {IMAGE: _leaf(shard, place, name, root, IMAGE)}
        leaves[MASK] = _leaf(shard, place, name, root, MASK)
        leaves |= {extra_column(each): f"{extra_column(each)}.bytes" for each in extra}
        return _Footer(
            shard.num_rows,
            _ids(shard, place, name, root),
            leaves,
            {column: shard.empty_rows(leaves[column]) for column in (IMAGE, MASK)},
            shard.digest(),
            shard.largest_group(),
            None if about is None else about_of(about, place.named(name)),
        )
    finally:
        shard.close()


def _leaf(shard: ParquetShard, place: ShardPlace, name: str, root: ShardRoot, needed: str) -> str:
    """By which name the bytes of the images, or of the masks, are read.

    Raises:
        DataError: It is not clear, or the column that is named holds something else.
    """
    named = root.image if needed == IMAGE else root.mask
    if named is not None:
        return shard.leaf(named, needed)
    columns: list[str] = shard.schema.names
    usual, others = IMAGE_COLUMNS, LABEL_COLUMNS
    if needed == MASK:
        usual, others = others, usual
    taken = root.mask if needed == IMAGE else root.image
    free = [column for column in columns if column != taken]
    found = [column for column in free if column.lower() in usual]
    if not found:
        found = [column for column in free if column.lower() not in others]
    if len(found) > 1:
        found = [column for column in found if shard.is_pictures(column)]
    if len(found) == 1:
        return shard.leaf(found[0], needed)
    kinds = ", ".join(f"{column} ({shard.schema.field(column).type})" for column in columns)
    what = (
        f"several columns could be the {needed}" if found else f"no column looks like the {needed}"
    )
    raise DataError(
        f"{place.named(name)}: {what}. Its columns are {kinds}. Name both: "
        f"parquet:{place.shown}?image=COLUMN&mask=COLUMN."
    )


def _ids(shard: ParquetShard, place: ShardPlace, name: str, root: ShardRoot) -> list[str] | None:
    """The ids of the rows; None where there is no column of them."""
    column = root.id or ID_COLUMN
    if column not in shard.schema.names:
        if root.id is not None:
            known = unknown_name("column", column, shard.schema.names)
            raise DataError(f"{place.named(name)}: id={column}: {known}")
        return None
    values = shard.column(column)
    if not all(isinstance(value, str | int) for value in values):
        if root.id is None:
            return None
        row = next(n for n, value in enumerate(values) if not isinstance(value, str | int))
        raise DataError(
            f"{place.named(name)} row {row} has {values[row]!r:.60} as its id ({column}), but ids are texts or numbers."
        )
    return [str(value) for value in values]


def _large_groups(place: ShardPlace, footers: Sequence[_Footer]) -> list[Finding]:
    """The warning that a sample is read with many others."""
    largest = max(footer.largest_group for footer in footers)
    if largest <= LARGE_GROUP:
        return []
    return [
        Finding(
            "large-row-groups",
            "warning",
            f"The row groups of {place.shown} have up to {largest / 1e6:,.0f} MB; each is read for a single sample.",
            f"For training in random order write them anew: vitseg data shard parquet:{place.shown} --out FOLDER.",
            (place.shown,),
            1,
        )
    ]
