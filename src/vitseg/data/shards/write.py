"""A data set as shards: written one after the other, each whole or not at all, and gone on with where it stopped."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vitseg import parsing
from vitseg.claims import claim_folder
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.parallel import map_in_order
from vitseg.data.shards.about import (
    MANIFEST,
    UNFINISHED,
    VERSION,
    About,
    Manifest,
    ShardFile,
    ShardKind,
    SplitShards,
)
from vitseg.data.shards.encode import EncodedSample, Encoder
from vitseg.data.shards.index import ShardIndex, index_name, read_index, write_index
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import digest_of
from vitseg.data.shards.shard_writers import SUFFIXES, WRITERS
from vitseg.errors import ConfigError, DataError
from vitseg.files import remove_leftovers, whole_file, write_json, write_whole


def write_shards(
    datasets: Mapping[str, SegmentationDataset],
    out: Path,
    kind: ShardKind = "parquet",
    shard_bytes: int = 256_000_000,
    num_workers: int = 0,
    on_samples: Callable[[int], object] = lambda number: None,
) -> Manifest:
    """Write the splits of a data set as shards.

    A shard, and then its index, get their names when they are complete; `shards.json` is written last. A second call
    with the same data goes on behind the last complete shard.

    Args:
        datasets: The splits by name.
        out: The folder: new, empty, or with such shards that are not complete.
        kind: What the shards are.
        shard_bytes: Bytes of images and masks in a shard; a larger sample has a shard of its own.
        num_workers: Processes that read and encode samples; 0: this process does.
        on_samples: Called with the number of samples that were written, or were there.

    Raises:
        ConfigError: The folder holds something else, or shards of other data.
        DataError: A sample cannot be read, its mask has an id without class, or a split has no samples.
        OSError: The disk is full, or the folder cannot be written.
    """
    encoders = {name: Encoder(dataset) for name, dataset in datasets.items()}
    abouts = {name: About.of(each.dataset, each.pose) for name, each in encoders.items()}
    for name, dataset in datasets.items():
        if not len(dataset):
            raise DataError(f"the split {name} has no samples: leave it out, with --split.")
    _claim(out, _plan(datasets, abouts, kind, shard_bytes))
    remove_leftovers(out)
    splits: dict[str, SplitShards] = {}
    for name, encoder in encoders.items():
        writer = _SplitWriter(out, name, encoder, abouts[name], kind, shard_bytes)
        shards = tuple(writer.write(num_workers, on_samples))
        splits[name] = SplitShards(about=abouts[name], shards=shards)
    manifest = Manifest(kind=kind, splits=splits)
    write_whole(out / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    (out / UNFINISHED).unlink()
    return manifest


def require_free(out: Path) -> None:
    """Raise ConfigError unless a folder is new, empty, or one of shards that are not all written yet."""
    if (out / UNFINISHED).is_file():
        return
    if (out / MANIFEST).is_file():
        raise ConfigError(f"--out {out} holds shards already: give a new folder.")
    claim_folder(out)


def _plan(
    datasets: Mapping[str, SegmentationDataset],
    abouts: Mapping[str, About],
    kind: ShardKind,
    shard_bytes: int,
) -> dict[str, Any]:
    """What is to be written, to be known again by a later call."""
    return {
        "version": VERSION,
        "kind": kind,
        "shard_bytes": shard_bytes,
        "splits": {
            name: {
                "num_samples": len(dataset),
                "ids": hashlib.sha256(
                    "\n".join(dataset.ids).encode(errors="surrogateescape")
                ).hexdigest(),
                "about": hashlib.sha256(abouts[name].model_dump_json().encode()).hexdigest(),
            }
            for name, dataset in datasets.items()
        },
    }


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Begin in a folder, or go on in it.

    Raises:
        ConfigError: It holds something else.
    """
    require_free(out)
    unfinished = out / UNFINISHED
    if not unfinished.is_file():
        write_json(unfinished, plan)
        return
    try:
        before = parsing.read_json(unfinished)
    except parsing.UnreadableError as error:
        raise ConfigError(f"{unfinished} cannot be read: {error}. Remove the folder.") from error
    if before != plan:
        differing = [key for key in plan if before.get(key) != plan[key]]
        raise ConfigError(
            f"--out {out} holds the beginning of other shards (they differ in {', '.join(differing)}): give the same "
            "options to go on, or another folder."
        )


class _SplitWriter:
    """Writes the shards of a split.

    Args:
        out: The folder.
        split: Name of the split.
        encoder: Gives its samples.
        about: What holds for all of them.
        kind: What the shards are.
        shard_bytes: Bytes of images and masks in a shard.
    """

    def __init__(
        self,
        out: Path,
        split: str,
        encoder: Encoder,
        about: About,
        kind: ShardKind,
        shard_bytes: int,
    ) -> None:
        self._out, self._encoder, self._about = out, encoder, about
        self._kind: ShardKind = kind
        self._shard_bytes = shard_bytes
        self._stem = quote(split, safe="")

    def write(self, num_workers: int, on_samples: Callable[[int], object]) -> Iterator[ShardFile]:
        """The shards, those that are there already and then those that are written."""
        done = 0
        for number in itertools.count():
            shard = self._there(number)
            if shard is None:
                break
            done += shard.num_samples
            on_samples(shard.num_samples)
            yield shard
        total = len(self._encoder.dataset)
        samples = map_in_order(self._encoder, range(done, total), num_workers)
        held = next(samples, None)
        while held is not None:
            shard, held = self._shard(number, held, samples, on_samples)
            number += 1
            yield shard

    def _name(self, number: int) -> str:
        return f"{self._stem}-{number:05d}{SUFFIXES[self._kind]}"

    def _there(self, number: int) -> ShardFile | None:
        """A complete shard of an earlier call."""
        place, name = ShardPlace(str(self._out)), self._name(number)
        if not place.path(index_name(name)).is_file():
            return None
        index = read_index(place, name)
        if place.size(name) != index.num_bytes:
            return None
        return ShardFile(name=name, num_samples=len(index.ids), num_bytes=index.num_bytes)

    def _shard(
        self,
        number: int,
        first: EncodedSample,
        samples: Iterator[EncodedSample],
        on_samples: Callable[[int], object],
    ) -> tuple[ShardFile, EncodedSample | None]:
        """Write a shard; returns it, and the sample that had no room in it."""
        path = self._out / self._name(number)
        ids: list[str] = []
        digests: list[dict[str, str]] = []
        held: EncodedSample | None = first
        num_bytes = 0
        with whole_file(path) as partial:
            writer = WRITERS[self._kind](partial, self._about)
            try:
                while held is not None and (
                    not ids or num_bytes + held.num_bytes <= self._shard_bytes
                ):
                    writer.add(held)
                    ids.append(held.id)
                    digests.append(
                        {name: digest_of(p.content).hex() for name, p in held.parts.items()}
                    )
                    num_bytes += held.num_bytes
                    on_samples(1)
                    held = next(samples, None)
                writer.close()
            except BaseException:  # Ctrl-C, too
                writer.abort()
                raise
            index = ShardIndex(
                num_bytes=partial.stat().st_size,
                ids=ids,
                digests={name: [each.get(name, "") for each in digests] for name in writer.parts},
                parts=writer.parts,
            )
        write_index(self._out / index_name(path.name), index)
        shard = ShardFile(name=path.name, num_samples=len(ids), num_bytes=index.num_bytes)
        return shard, held
