"""The index beside a shard that vitseg wrote: ids of its samples, digests of them, and their places in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from vitseg import parsing
from vitseg.data.shards.about import ShardFile
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import IMAGE, MASK
from vitseg.errors import DataError
from vitseg.files import write_whole

SUFFIX = ".index"
_THREADS = 16


class ShardIndex(NamedTuple):
    """Content of such a file.

    Attributes:
        num_bytes: Bytes of the shard.
        ids: The ids of the samples.
        digests: Column -> digest of each sample's part, in hexadecimal; of no digits where it has none.
        parts: Column -> start and size of each sample's part of the file; (0, 0) where it has none.
    """

    num_bytes: int
    ids: list[str]
    digests: dict[str, list[str]]
    parts: dict[str, list[tuple[int, int]]]


class SplitIndex(NamedTuple):
    """The samples of all shards of a split.

    Attributes:
        ids: The ids.
        digests: Column -> digest of each sample's part.
        shard_of: The shard of each sample.
        parts: Column -> start and size in the shard.
    """

    ids: Sequence[str]
    digests: Mapping[str, Sequence[bytes]]
    shard_of: Int64[np.ndarray, " n"]
    parts: Mapping[str, Int64[np.ndarray, "n 2"]]


def index_name(shard: str) -> str:
    """The name of a shard's index."""
    return shard.rpartition(".")[0] + SUFFIX


def read_index(place: ShardPlace, shard: str) -> ShardIndex:
    """The index of a shard.

    Raises:
        DataError: It is missing or damaged.
    """
    name = index_name(shard)
    try:
        return _index_of(parsing.parse_json(place.read(name), halves=True))
    except FileNotFoundError:
        raise DataError(
            f"{place.named(name)} does not exist: copy it, too, with the shard {shard}."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "it is no index of a shard"
        raise DataError(f"{place.named(name)} cannot be read: {reason}. Copy it again.") from error


def _index_of(content: Any) -> ShardIndex:
    """The index in a JSON value.

    Raises:
        ValueError: It is malformed; or TypeError, KeyError, AttributeError.
    """
    index = ShardIndex(**content)
    lists = (index.ids, *index.digests.values(), *index.parts.values())
    if any(len(each) != len(index.ids) for each in lists):
        raise ValueError("its lists have different lengths")
    if not all(isinstance(each, str) for each in index.ids):
        raise TypeError
    return index


def write_index(path: Path, index: ShardIndex) -> None:
    """Write the index of a shard."""
    write_whole(path, json.dumps(index._asdict(), separators=(",", ":")) + "\n")


def read_split(place: ShardPlace, shards: Sequence[ShardFile]) -> SplitIndex:
    """The index of a split; errors as for `read_index`, or it does not have the samples that are listed."""
    with ThreadPoolExecutor(_THREADS) as pool:
        indices = list(pool.map(lambda shard: read_index(place, shard.name), shards))
    for shard, index in zip(shards, indices, strict=True):
        if len(index.ids) != shard.num_samples:
            raise DataError(
                f"{place.named(index_name(shard.name))} lists {len(index.ids)} samples, but the shard has "
                f"{shard.num_samples}: copy shards and indices from one place."
            )
    try:
        return _joined(indices)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(
            f"the indices of {place.shown} ({index_name(shards[0].name)}, ...) have other fields, or no digests or "
            "places where these should be: copy them again."
        ) from error


def _joined(indices: Sequence[ShardIndex]) -> SplitIndex:
    """The index of a split; ValueError, TypeError, KeyError or OverflowError where a value is none of its kind."""
    counts = [len(index.ids) for index in indices]
    columns = {IMAGE, MASK, *indices[0].parts}
    parts = {
        column: np.concatenate([_places(index.parts[column], index) for index in indices])
        for column in columns
    }
    digests = {
        column: [bytes.fromhex(each) for index in indices for each in index.digests[column]]
        for column in columns
    }
    return SplitIndex(
        [each for index in indices for each in index.ids],
        digests,
        np.repeat(np.arange(len(counts)), counts),
        parts,
    )


def _places(parts: Sequence[tuple[int, int]], index: ShardIndex) -> Int64[np.ndarray, "n 2"]:
    places = np.array(parts, np.int64).reshape(-1, 2)
    if len(places) != len(parts) or (places < 0).any():
        raise ValueError
    if (places > index.num_bytes).any() or (places.sum(1) > index.num_bytes).any():
        raise ValueError  # it would be read before the file tells that it is shorter
    return places
