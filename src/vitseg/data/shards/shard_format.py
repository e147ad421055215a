"""What the formats of shards have in common: those that vitseg wrote, and those that others did."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, get_args

from vitseg import parsing
from vitseg.data.class_choices import described_by_class_files
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file, pose_of_folder
from vitseg.data.class_labels import read_labels
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.id_lists import USUAL_SPLIT
from vitseg.data.listing import files_below
from vitseg.data.mask_pose import MaskPose
from vitseg.data.shards.about import (
    MANIFEST,
    UNFINISHED,
    About,
    Manifest,
    ShardFile,
    ShardKind,
    read_manifest,
)
from vitseg.data.shards.index import read_split
from vitseg.data.shards.part_rows import PartRows
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import ShardImages, ShardMasks, ShardRows, in_colors
from vitseg.data.shards.shard_faults import compressed, damaged_shards
from vitseg.data.shards.shard_root import ShardRoot, parse_shard_root
from vitseg.data.splits import choose_split
from vitseg.errors import ConfigError, DataError

_NUMBER = re.compile(r"[-_.]?\d+([-_.]?of[-_.]?\d+)?$")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_TEXTS = (".md", ".txt", ".json", ".yaml", ".yml", ".csv", ".index")


class FoundRows(NamedTuple):
    """The rows of a split that others wrote.

    Attributes:
        rows: The rows.
        ids: Their ids.
        words: Where images and masks are, in words.
        findings: What is wrong with single shards or rows.
        about: What the shards themselves say of the split; None: nothing.
    """

    rows: ShardRows
    ids: Sequence[str]
    words: str
    findings: tuple[Finding, ...]
    about: About | None = None


class ShardFormat(DataFormat):
    """Shards in a folder or an object store.

    Attributes:
        kind: What the shards are.
        suffix: Suffix of their files.
        options: Options behind the `?` of a root.
    """

    kind: ShardKind
    suffix: str
    options: Sequence[str]

    @abstractmethod
    def found(self, place: ShardPlace, shards: Sequence[str], root: ShardRoot) -> FoundRows:
        """The rows of shards that others wrote.

        Raises:
            DataError: It is not clear where images and masks are.
        """

    def open(self, root: ShardRoot, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: There is no such place or split, the shards are still being written, their index or class file
                is missing or malformed, or it is not clear where images and masks are.
        """
        return self._open(root, split)[0]

    def open_placed(self, root: ShardRoot, split: str) -> SegmentationDataset:
        """As `open`, with masks as the root says that they lie, else the shards themselves, else a class file."""
        dataset, told = self._open(root, split)
        return dataset.with_mask_pose(root.masks or told or self.mask_pose(root))

    def _open(self, root: ShardRoot, split: str) -> tuple[SegmentationDataset, MaskPose | None]:
        """A split, and how its shards say that masks lie."""
        place = ShardPlace(root.place)
        manifest = read_manifest(place, self.kind)
        if manifest is not None:
            return self._open_own(place, manifest, root, split)
        names = place.names()
        shards = self._shards_by_split(place, names)
        split = choose_split(split, tuple(shards), place.shown)
        found = self.found(place, shards[split], root)
        if found.about is not None:
            dataset = _told_by(found.about, self.name, split, found.rows, found.ids)
        else:
            dataset = self._described(place, root, split, found)
        source = f"{len(shards[split])} {self.suffix} shards in {place.shown}, {found.words}"
        told = None if found.about is None else found.about.masks
        findings = (*found.findings, *self._packed(place, names, split))
        return replace(dataset, source=source, findings=findings), told

    def splits(self, root: ShardRoot) -> tuple[str, ...]:
        """Names of the splits; `all` where the names of shards tell of none."""
        place = ShardPlace(root.place)
        manifest = read_manifest(place, self.kind)
        return tuple(
            self._shards_by_split(place, place.names()) if manifest is None else manifest.splits
        )

    def looks_like(self, root: Path) -> str | None:
        """Its `shards.json`, or that nothing but shards and texts lie there."""
        for name in (MANIFEST, UNFINISHED):
            if (kind := _kind_in(root / name)) is not None:
                return f"{name} of {kind} shards" if kind == self.kind else None
        names = files_below(root)
        shards = [name for name in names if name.lower().endswith(self.suffix)]
        others = [name for name in names if not name.lower().endswith((self.suffix, *_TEXTS))]
        return f"{len(shards)} {self.suffix} files and no others" if shards and not others else None

    def parse_root(self, text: str) -> ShardRoot:
        return parse_shard_root(text, self.options)

    def mask_pose(self, root: ShardRoot) -> MaskPose:
        """As it is named, else by the class file that is named, else by those in the folder."""
        if root.masks is not None:
            return root.masks
        if root.classes is not None:
            return read_class_file(root.classes).masks
        return pose_of_folder(Path(ShardPlace(root.place).text))

    def _open_own(
        self, place: ShardPlace, manifest: Manifest, root: ShardRoot, split: str
    ) -> tuple[SegmentationDataset, MaskPose]:
        named = [name for name in ("image", "mask", "id", "classes") if getattr(root, name)]
        if named:
            raise ConfigError(
                f"{place.shown}: {MANIFEST} says what is where, and which classes there are: leave out {named[0]}=."
            )
        split = choose_split(split, tuple(manifest.splits), place.shown)
        shards = manifest.splits[split]
        if not shards.shards:
            raise DataError(
                f"split {split} of {self.name}:{place.shown} is empty: {MANIFEST} lists no shards of it."
            )
        index = read_split(place, shards.shards)
        names = [shard.name for shard in shards.shards]
        rows = PartRows(place, names, index.shard_of, index.parts, index.ids, index.digests)
        dataset = _told_by(shards.about, self.name, split, rows, index.ids)
        source = f"{len(shards.shards)} {self.kind} shards in {place.shown}"
        findings = _of_sizes(place, shards.shards)
        return replace(dataset, source=source, findings=findings), shards.about.masks

    def _shards_by_split(self, place: ShardPlace, names: Sequence[str]) -> dict[str, list[str]]:
        """The names of the shards of each split, by the names of these files or of the folders that they lie in."""
        shards = [name for name in names if name.lower().endswith(self.suffix)]
        if not shards:
            packed = [name for name in names if self.suffix + "." in name.lower()]
            hint = (
                f" {packed[0]} is compressed: unpack it to {self.suffix}, of which parts can be read."
                if packed
                else ""
            )
            raise DataError(f"{place.shown} has no {self.suffix} files.{hint}")
        found: dict[str, list[str]] = {}
        for name in shards:
            found.setdefault(_split_of(name), []).append(name)
        return dict(sorted(found.items()))

    def _packed(self, place: ShardPlace, names: Sequence[str], split: str) -> list[Finding]:
        """The finding about compressed files among the shards of a split: their samples would be left out."""
        ends = tuple(self.suffix + suffix for suffix in _PACKED)
        packed = [n for n in names if n.lower().endswith(ends) and _split_of(n) == split]
        return compressed(place, packed)

    def _described(
        self, place: ShardPlace, root: ShardRoot, split: str, found: FoundRows
    ) -> SegmentationDataset:
        """A split whose classes a class file names."""
        folder = Path(place.text) if place.is_local else None
        path = root.classes or (find_class_file(folder) if folder is not None else None)
        if path is None:
            raise DataError(
                f"{place.shown} has no class file: put classes.json into the folder, or name one, as in "
                f"{self.name}:{place.shown}?classes=classes.json."
            )
        colors = in_colors(found.rows)
        dataset = SegmentationDataset(
            self.name,
            split,
            read_labels(path, colors),
            tuple(found.ids),
            ShardImages(found.rows),
            ShardMasks(found.rows, colors),
            "",
        )
        return described_by_class_files(dataset, path, folder)


def _kind_in(path: Path) -> str | None:
    """The kind of shards that a file of ours says; None for none, or one of others."""
    try:
        kind = parsing.read_json(path)["kind"]
    except (parsing.UnreadableError, KeyError, TypeError):
        return None
    return kind if kind in get_args(ShardKind) else None


def _told_by(
    about: About, name: str, split: str, rows: ShardRows, ids: Sequence[str]
) -> SegmentationDataset:
    """A split as shards tell of it themselves."""
    return SegmentationDataset(
        name,
        split,
        about.labels.table(),
        tuple(ids),
        ShardImages(rows),
        ShardMasks(rows, about.labels.colors),
        "",
        value_range=about.limits,
        bands=about.bands,
    )


def _of_sizes(place: ShardPlace, shards: Sequence[ShardFile]) -> tuple[Finding, ...]:
    """The finding about shards that are not there, or not whole; those of an object store tell when they are read."""
    if not place.is_local:
        return ()
    wrong = []
    for shard in shards:
        size = place.size(shard.name)
        if size != shard.num_bytes:
            came = "is not there" if size is None else f"has {size:,} bytes"
            wrong.append(f"{shard.name} {came} (of {shard.num_bytes:,})")
    if not wrong:
        return ()
    return (damaged_shards(place, wrong),)


def _split_of(name: str) -> str:
    """The split of a shard by its name, or by the folder that it lies in: `train-00000-of-00004`, `train/0001`."""
    path = PurePosixPath(name)
    words = [_NUMBER.sub("", path.name.partition(".")[0]), *reversed(path.parent.parts)]
    for word in words:
        if USUAL_SPLIT.fullmatch(word):
            return word
    return "all"
