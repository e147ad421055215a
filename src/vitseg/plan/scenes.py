"""Which images show the same scene, and so belong on one side of a split: by their names, and by what they show."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitseg.checks.duplicates import Fingerprints
from vitseg.checks.image_facts import examine_image
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import DataError

MOST_COMPARED = 2000
"""Images that are compared with each other; where there are more, names alone tell scenes."""

_NUMBER = re.compile(r"[\W_]*\d+[\W_]*$")
_TOO_LARGE = 0.5
"""Share of the images from which on a scene is cut into stretches: a split by scenes would be none."""

_STRETCHES = 10
"""Stretches that a scene is cut into which holds nearly everything, as one video does."""


@dataclass(frozen=True)
class Scenes:
    """The scenes of a data set.

    Attributes:
        of_image: Number of the scene of every image.
        told_by: By what they were told, in words; "": each image is a scene of its own.
    """

    of_image: tuple[int, ...]
    told_by: str

    @property
    def count(self) -> int:
        return len(set(self.of_image))


def find_scenes(dataset: SegmentationDataset, seconds: float = 30.0) -> Scenes:
    """Tell the scenes of a data set.

    Args:
        dataset: All pairs.
        seconds: Images are looked at for so long at most.
    """
    prefixes = name_groups(dataset.ids)
    joined = _Joined(len(dataset))
    for group in prefixes:
        for other in group[1:]:
            joined.join(group[0], other)
    pairs = _alike(dataset, seconds)
    for one, other in pairs:
        joined.join(one, other)
    told = [
        *(["the beginnings of their names"] if prefixes else []),
        *(["near-duplicate images"] if pairs else []),
    ]
    scenes = joined.numbers()
    cut = _cut(scenes, dataset.ids)
    if cut is not None:
        scenes = cut
        told.append("stretches of neighbouring names")
    return Scenes(tuple(scenes), " and ".join(told[-2:]) if len(told) < 3 else ", ".join(told))


def name_groups(ids: Sequence[str]) -> list[list[int]]:
    """Groups of ids that begin alike in front of their number, or lie in one folder; none where that tells nothing.

    `seq1_0001` and `seq1_0002` are of one scene; if all ids begin alike, or nearly none do, names say nothing.
    """
    for key in (_folder, _beginning):
        groups: dict[str, list[int]] = {}
        for index, each in enumerate(ids):
            groups.setdefault(key(each), []).append(index)
        largest = max(map(len, groups.values()), default=0)
        repeated = sum(len(group) for group in groups.values() if len(group) > 1)
        if len(groups) >= 3 and 2 * repeated >= len(ids) and largest <= _TOO_LARGE * len(ids):
            return [group for group in groups.values() if len(group) > 1]
    return []


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _beginning(name: str) -> str:
    return _NUMBER.sub("", name)


def _alike(dataset: SegmentationDataset, seconds: float) -> list[tuple[int, int]]:
    """Pairs of images that look the same; none where there are too many to look at."""
    if len(dataset) > MOST_COMPARED:
        return []
    prints, began = Fingerprints(), time.monotonic()
    for index in range(len(dataset)):
        try:
            facts = examine_image(dataset.image_source(index), quick=False)
        except (DataError, OSError):  # training tells of it
            continue
        if facts.fingerprint is not None:
            prints.add(0, index, facts.fingerprint)
        if time.monotonic() - began > seconds:
            return []
    if not len(prints):
        return []
    places = list(prints.indices)
    own, _ = prints.near_pairs()
    found = [(places[i], places[int(j)]) for i, j in enumerate(own) if j >= 0]
    for group in prints.copies():
        found += [(places[int(group[0])], places[int(other)]) for other in group[1:]]
    return found


def _cut(scenes: Sequence[int], ids: Sequence[str]) -> list[int] | None:
    """The scenes with one that holds nearly everything cut into stretches; None where there is none such."""
    number, size = Counter(scenes).most_common(1)[0]
    if size < 3 or size <= _TOO_LARGE * len(scenes):
        return None
    inside = sorted(
        (each for each in range(len(ids)) if scenes[each] == number), key=ids.__getitem__
    )
    cut, first = list(scenes), max(scenes) + 1
    for stretch, part in enumerate(np.array_split(np.array(inside), min(_STRETCHES, size))):
        for index in part.tolist():
            cut[index] = first + stretch
    return cut


class _Joined:
    """Sets of images that grow together."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, one: int, other: int) -> None:
        self._parent[self._root(other)] = self._root(one)

    def numbers(self) -> list[int]:
        return [self._root(index) for index in range(len(self._parent))]
