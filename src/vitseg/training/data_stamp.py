"""What a run was trained on, small enough to be kept with its state: a resumed run must go on with the same.

Of each sample 16 bytes are kept: a hash of its id, and one of its files. Masks are hashed whole, images beyond 64 kB by
their size and three pieces of them: an image whose compressed file was changed is another in each of these. Neither
paths nor times count, so a data set may be moved and copied. 100,000 images take some ten seconds. Shards bring digests
with them, which nothing has to be read for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.stored import StoredImages
from vitseg.errors import DataError, first_names

_WHOLE = 1 << 16
"""Bytes up to which an image is hashed whole."""

_PIECE = 1 << 14
_IN_MEMORY = 500
"""Samples whose content is looked at where images are in no files: each is loaded, and its mask decoded."""

_THREADS = 8
_BYTES = 8


def stamp_of(train_set: SegmentationDataset, val_set: SegmentationDataset | None) -> dict[str, Any]:
    """The stamp of a run's splits, in plain values and tensors; a file that cannot be read has one of its own.

    Args:
        train_set: What is trained on.
        val_set: What is validated on; None: nothing is.
    """
    stamp = {"training": _split_stamp(train_set)}
    return stamp if val_set is None else {**stamp, "validation": _split_stamp(val_set)}


def changes(
    old: Mapping[str, Any],
    train_set: SegmentationDataset,
    val_set: SegmentationDataset | None,
    new: Mapping[str, Any],
) -> list[str]:
    """In what data differ, as parts of a sentence; none if they are the same.

    Args:
        old: The stamp of the run as it began.
        train_set: What is trained on now.
        val_set: What is validated on now.
        new: The stamp of these.
    """
    found = []
    for role, dataset in (("training", train_set), ("validation", val_set)):
        if (role in old) != (role in new):
            found.append(f"it was {'with' if role in old else 'without'} {role}")
        elif dataset is not None:
            of_split = _split_changes(old[role], new[role], dataset)
            found += [f"{change} ({role}, split {dataset.split})" for change in of_split]
    return found


def _split_stamp(dataset: SegmentationDataset) -> dict[str, Any]:
    labels = dataset.labels
    mapping = json.dumps(sorted(labels.mapping.items()))
    return {
        "classes": list(labels.classes.names),
        "palette": [list(color) for color in labels.classes.palette],
        "mapping": hashlib.sha256(mapping.encode()).hexdigest(),
        "masks": dataset.mask_pose,
        "ids": _tensor(
            [_digest(sample_id.encode(errors="surrogateescape")) for sample_id in dataset.ids]
        ),
        "files": _tensor(_contents(dataset)),
    }


def _split_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], dataset: SegmentationDataset
) -> list[str]:
    found = []
    if old["classes"] != new["classes"]:
        found.append(_class_change(old["classes"], new["classes"]))
    elif old["palette"] != new["palette"]:
        found.append("the colours of the classes are others")
    elif old["mapping"] != new["mapping"]:
        found.append("the values of the masks mean other classes")
    pose = old.get("masks", "upright")  # as it was before there was a choice
    if pose != new["masks"]:
        found.append(f"the masks were read as {pose} and are read as {new['masks']}")
    before, now = _keys(old["ids"]), _keys(new["ids"])
    if before == now:
        other = (old["files"] != new["files"]).any(1)
        names = [str(dataset.ids[index]) for index in other.nonzero().flatten().tolist()]
        if names:
            found.append(f"image or mask changed: {first_names(names)}")
        return found
    known, there = set(before), set(now)
    added = [dataset.ids[index] for index, key in enumerate(now) if key not in known]
    missing = sum(key not in there for key in before)
    if added:
        found.append(f"images were added: {first_names(added)}")
    if missing:
        found.append(f"{missing} image{'' if missing == 1 else 's'} of before missing")
    if not added and not missing:
        found.append("the images come in another order, or another number of times")
    return found


def _class_change(old: list[str], new: list[str]) -> str:
    if len(old) != len(new):
        return f"the number of classes was {len(old)} and is {len(new)}"
    first = next(index for index in range(len(old)) if old[index] != new[index])
    return f"class {first} was {old[first]!r} and is {new[first]!r}"


def _contents(dataset: SegmentationDataset) -> list[bytes]:
    """A digest of image and mask of every sample."""
    count = len(dataset)
    if isinstance(dataset.images, StoredImages):
        return [_stored(dataset.images, index) for index in range(count)]
    if dataset.in_memory:
        step = max(1, count // _IN_MEMORY)
        return [b"" if index % step else _loaded(dataset, index) for index in range(count)]
    users: dict[Path, int] = {}
    for index in range(count):
        for path in dataset.mask_files(index):
            users[path] = users.get(path, 0) + 1
    # the annotations of a whole split in one file are hashed once
    shared = {path: _file_digest(path, whole=True) for path, number in users.items() if number > 1}

    def content(index: int) -> bytes:
        image = dataset.image_source(index)
        parts = [image if isinstance(image, bytes) else _file_digest(image, whole=False)]
        parts += [_file_digest(path, whole=False) for path in _extra_files(dataset, index)]
        for path in dataset.mask_files(index):
            parts.append(shared.get(path) or _file_digest(path, whole=True))
        return _digest(b"".join(parts))

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(content, range(count), chunksize=64))


def _extra_files(dataset: SegmentationDataset, index: int) -> list[Path]:
    """Further pictures of an image; none where one is missing, which training tells of."""
    try:
        return [file for file in dataset.extra_files(index) if isinstance(file, Path)]
    except DataError:
        return []


def _stored(images: StoredImages, index: int) -> bytes:
    try:
        return images.stamp(index)
    except DataError as error:  # likewise
        return _digest(str(error).encode(errors="surrogateescape"))


def _loaded(dataset: SegmentationDataset, index: int) -> bytes:
    source = dataset.image_source(index)
    image = source if isinstance(source, bytes) else _file_digest(source, whole=False)
    try:
        mask = dataset.raw_ids(index).astype("<i4").tobytes()
    except DataError as error:
        mask = str(error).encode(errors="surrogateescape")
    return _digest(image + mask)


def _file_digest(path: Path, whole: bool) -> bytes:
    digest = hashlib.blake2b(digest_size=_BYTES)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if whole or size <= _WHOLE:
                digest = hashlib.file_digest(file, lambda: digest)
            else:
                digest.update(str(size).encode())
                for start in (0, (size - _PIECE) // 2, size - _PIECE):
                    file.seek(start)
                    digest.update(file.read(_PIECE))
    except OSError as error:  # training tells of it when it comes to this file
        digest.update(str(error.errno).encode())
    return digest.digest()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_BYTES).digest()


def _tensor(digests: list[bytes]) -> UInt8[Tensor, "n 8"]:
    joined = b"".join(digest.ljust(_BYTES, b"\0") for digest in digests)
    return torch.from_numpy(np.frombuffer(joined, np.uint8).reshape(-1, _BYTES).copy())


def _keys(digests: UInt8[Tensor, "n 8"]) -> list[bytes]:
    return [row.tobytes() for row in digests.numpy()]
