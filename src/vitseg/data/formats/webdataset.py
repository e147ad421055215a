"""WebDataset: tar files whose members of one name are a sample, `0001.jpg` and `0001.mask.png`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vitseg.data.finding import Finding
from vitseg.data.shards.part_rows import PartRows
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.rows import IMAGE, MASK, twice_in
from vitseg.data.shards.shard_faults import damaged_shards, lacking, same_ids
from vitseg.data.shards.shard_format import FoundRows, ShardFormat
from vitseg.data.shards.shard_root import ShardRoot
from vitseg.data.shards.tar_index import Member, members_of
from vitseg.errors import DataError, unknown_name
from vitseg.images.suffixes import ARRAY_SUFFIX, IMAGE_SUFFIXES

MASK_WORDS = frozenset(
    {"mask", "seg", "segmentation", "label", "labels", "annotation", "annotations", "gt", "target"}
)
"""Words that stand before the last suffix of masks."""

_PICTURES = frozenset(suffix.removeprefix(".") for suffix in (*IMAGE_SUFFIXES, ARRAY_SUFFIX))
_LOSSLESS = ("png", "tif", "tiff", "bmp", "gif")
_THREADS = 8


class WebDataset(ShardFormat):
    """Tar files without compression, as WebDataset has them. Of those that others wrote, the headers are read first."""

    name = kind = "webdataset"
    suffix = ".tar"
    summary = "WebDataset: tar files of images and masks, in a folder or an object store"
    options = ("image", "mask", "classes", "masks")

    def found(self, place: ShardPlace, shards: Sequence[str], root: ShardRoot) -> FoundRows:
        with ThreadPoolExecutor(_THREADS) as pool:
            scanned = list(pool.map(lambda name: _members(place, name), shards))
        faults = [
            f"{name} {what or 'has no files'}"
            for name, (found, what) in zip(shards, scanned, strict=True)
            if what or not found
        ]
        findings: list[Finding] = [damaged_shards(place, faults)] if faults else []
        samples = [
            (number, key, members)
            for number, (found, _) in enumerate(scanned)
            for key, members in _samples(found).items()
        ]
        again = [
            (f"{name}: {found[place].key}", found[place].kind)
            for name, (found, _) in zip(shards, scanned, strict=True)
            for place in twice_in([(member.key, member.kind) for member in found])
        ]
        kinds = Counter(kind for _, _, members in samples for kind in members)
        if not samples:
            raise DataError(f"{place.shown} has no samples: {findings[0].message}")
        mask = choose_mask(kinds, root)
        images = _image_kinds(kinds, root, mask)
        whole, without_image, without_mask = [], [], []
        for number, key, members in samples:
            name = f"{shards[number]}: {key}"
            own = [kind for kind in members if kind in images]
            if len(own) > 1:
                raise _unclear(f"{name} has several images: {', '.join(own)}", kinds, root)
            if not own and mask not in members:
                continue  # texts, or whatever else lies there
            if not own:
                without_image.append(name)
            elif mask not in members:
                without_mask.append(name)
            else:
                whole.append((number, key, members[own[0]], members[mask]))
        ids = [key for _, key, _, _ in whole]
        twice = set(twice_in(ids))
        findings += lacking("image", without_image) + lacking("mask", without_mask)
        within = {name for name, kind in again if kind == mask or kind in images}
        findings += same_ids(
            [*sorted(within), *(f"{shards[whole[row][0]]}: {ids[row]}" for row in sorted(twice))]
        )
        parts = {
            column: np.array([each[place][2:] for each in whole], np.int64).reshape(-1, 2)
            for column, place in ((IMAGE, 2), (MASK, 3))
        }
        shard_of = np.array([number for number, *_ in whole], np.int64)
        rows = PartRows(place, shards, shard_of, parts, ids)
        words = f"images in {', '.join(sorted(images))}, masks in {mask}"
        return FoundRows(rows, ids, words, tuple(findings))


def _members(place: ShardPlace, name: str) -> tuple[list[Member], str]:
    file = place.open(name)
    try:
        return members_of(file)
    finally:
        file.close()


def _samples(members: Sequence[Member]) -> dict[str, dict[str, Member]]:
    """Members by sample and kind; of two of one name, the last is it, as for whoever unpacks the file."""
    found: dict[str, dict[str, Member]] = {}
    for member in members:
        found.setdefault(member.key, {})[member.kind] = member
    return found


def choose_mask(kinds: Counter[str], root: ShardRoot) -> str:
    """What the names of masks have behind their first dot.

    As it is named; else the one kind of pictures with a usual word in it, or the one kind without loss beside others.

    Raises:
        DataError: None or several come into question, or there is none of the one that is named.
    """
    if root.mask is not None:
        if root.mask not in kinds:
            raise DataError(
                f"mask={root.mask}: {unknown_name('kind of members', root.mask, kinds)}"
            )
        return root.mask
    pictures = [kind for kind in kinds if _is_picture(kind)]
    worded = [kind for kind in pictures if MASK_WORDS.intersection(kind.split(".")[:-1])]
    if not worded and len(pictures) > 1:
        worded = [kind for kind in pictures if kind in _LOSSLESS and kind != root.image]
    if len(worded) != 1:
        found = f"could be masks: {', '.join(worded)}" if worded else "no kind of members is masks"
        raise _unclear(found, kinds, root)
    return worded[0]


def _image_kinds(kinds: Counter[str], root: ShardRoot, mask: str) -> frozenset[str]:
    if root.image is not None:
        if root.image not in kinds:
            known = unknown_name("kind of members", root.image, kinds)
            raise DataError(f"image={root.image}: {known}")
        return frozenset({root.image})
    pictures = frozenset(kind for kind in kinds if _is_picture(kind) and kind != mask)
    if not pictures:
        raise _unclear("no kind of members is images", kinds, root)
    return pictures


def _is_picture(kind: str) -> bool:
    return kind.rpartition(".")[2] in _PICTURES


def _unclear(what: str, kinds: Counter[str], root: ShardRoot) -> DataError:
    listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(8))
    place = ShardPlace(root.place).shown
    return DataError(
        f"{place}: {what}. The members end in {listed}. Name both: "
        f"webdataset:{place}?image=jpg&mask=mask.png."
    )
