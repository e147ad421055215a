"""Which images several splits share, so that each file is read once; and which splits may share images at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from vitseg.checks.facts import Place
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.errors import first_names

_ROLE = re.compile(r"train|val|dev|hold[ _-]?out|test")
_ROLE_OF = {"train": "train", "test": "test"}  # all others are for validation
_PLAIN = re.compile(r"(train(ing)?|val(id(ation)?)?|test(ing)?)\d*")
"""Names of splits that are made of no others."""
_FOLD = re.compile(
    r"(?:(?:train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?|k|cv|kfold|fold|part|of|set|split|seed|run)[ _.-]*)+"
)
"""What the name of a fold of a cross-validation has beside its number (`train_0`, `fold1_val`)."""
_MOST_FOLDS = 100  # beyond, numbers are years: train2017
_WHOLE = re.compile(r"(?<![a-z])(all|full|total|complete|everything|whole)(?![a-z])")
"""Words by which the name of a split says that it joins others."""


def file_key(source: Path | bytes) -> object:
    """The same for the same file under any path; hard links are one file."""
    if isinstance(source, bytes):
        return source
    try:
        status = source.stat()
    except OSError:
        return source
    return (status.st_dev, status.st_ino)


def image_groups(datasets: Sequence[SegmentationDataset]) -> Iterator[tuple[Place, ...]]:
    """All places of every image file, each file once, in the order of the splits.

    Images that are in no file of their own are not compared here: all of them would be loaded.
    """
    groups: dict[object, list[Place]] = {}
    for number, dataset in enumerate(datasets):
        for index in range(len(dataset)):
            place = Place(number, index)
            key = place if dataset.in_memory else file_key(dataset.image_source(index))
            groups.setdefault(key, []).append(place)
    return (tuple(places) for places in groups.values())


class Sharing:
    """Which splits hold the images of which others.

    Args:
        names: Names of the splits.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._sizes = np.zeros(len(names), np.int64)
        self._common = np.zeros((len(names), len(names)), np.int64)

    def add(self, splits: Collection[int]) -> None:
        """Count an image that these splits share, by its file or by its content."""
        at = np.array(sorted(splits))
        self._sizes[at] += 1
        self._common[np.ix_(at, at)] += 1

    def holds(self, split: int, other: int) -> bool:
        """Whether a split has all images of another, of which there are some."""
        return split != other and 0 < self._sizes[other] == self._common[split, other]

    @cached_property
    def roles(self) -> tuple[frozenset[str], ...]:
        """What each split is for, by its name: of `train`, `val`, `test`. None: any of them.

        A name that says that it joins others (`train_all`) has the roles of those whose images it holds.
        """
        own = [
            frozenset(_ROLE_OF.get(word, "val") for word in _ROLE.findall(name.lower()))
            for name in self._names
        ]
        return tuple(
            roles.union(*(own[other] for other in range(len(own)) if self.holds(split, other)))
            if _WHOLE.search(self._names[split].lower().replace("_", " "))
            else roles
            for split, roles in enumerate(own)
        )

    @cached_property
    def folds(self) -> tuple[int | None, ...]:
        """The number of the fold of a cross-validation that each split belongs to.

        Folds are there if the names of splits have two numbers or more, each with a split to train on and one to score.
        """
        numbers = [_fold_number(name) for name in self._names]
        whole = {
            number
            for number in set(numbers) - {None}
            if len({bool(roles & {"train"}) for roles in self._roles_of(numbers, number)}) == 2
        }
        if len(whole) < 2:
            return (None,) * len(numbers)
        return tuple(number if number in whole else None for number in numbers)

    def _roles_of(self, numbers: Sequence[int | None], number: int | None) -> list[frozenset[str]]:
        return [
            self.roles[split]
            for split, other in enumerate(numbers)
            if other == number and self.roles[split]
        ]

    @cached_property
    def is_joint(self) -> tuple[bool, ...]:
        """Which splits say nothing that others do not: they hold a whole other one of the same role.

        Of several with the same images, the first is not joint.
        """
        count = range(len(self._names))
        return tuple(
            any(
                self.holds(split, other)
                and not self._apart_by_role(split, other)
                and (other < split or not self.holds(other, split))
                for other in count
            )
            for split in count
        )

    @cached_property
    def apart(self) -> Bool[np.ndarray, "s s"]:
        """Which pairs of splits may have no image in common: it would be trained on and scored, or counted twice.

        Others are made of each other, as `trainval` of `train`, or of the same third one.
        """
        count = len(self._names)
        apart = np.zeros((count, count), bool)
        for one in range(count):
            for other in range(one):
                apart[one, other] = apart[other, one] = self._are_apart(one, other)
        return apart

    def _are_apart(self, one: int, other: int) -> bool:
        folds = self.folds[one], self.folds[other]
        if None not in folds and folds[0] != folds[1]:
            return False  # what one fold trains on, another is scored on
        if self._apart_by_role(one, other):
            return True
        if self.holds(one, other) or self.holds(other, one):
            return False
        return not any(
            self.holds(one, third)
            and self.holds(other, third)
            and not self._apart_by_role(one, third)
            and not self._apart_by_role(other, third)
            for third in range(len(self._names))
        )

    def _apart_by_role(self, one: int, other: int) -> bool:
        first, second = self.roles[one], self.roles[other]
        if first and second:
            return not first & second
        # a part of `train` that does not say what it is for may be held out
        return self._is_part_of_plain(one, other) or self._is_part_of_plain(other, one)

    def _is_part_of_plain(self, part: int, split: int) -> bool:
        is_plain = _PLAIN.fullmatch(self._names[split].lower()) is not None
        return is_plain and self.holds(split, part) and not self.holds(part, split)

    def findings(self) -> list[Finding]:
        """The facts that splits are folds, and, for each joint split, that it is one."""
        found = []
        folds = sorted({number for number in self.folds if number is not None})
        if folds:
            names = [
                name for name, fold in zip(self._names, self.folds, strict=True) if fold is not None
            ]
            message = f"{len(names)} splits are the {len(folds)} folds of a cross-validation: {first_names(names)}."
            fix = "Nothing: images are looked for twice within a fold only."
            found.append(Finding.of("folds", "info", message, fix, names))
        for split, name in enumerate(self._names):
            held = [
                other
                for place, other in enumerate(self._names)
                if self.is_joint[split]
                and self.holds(split, place)
                and not self._apart_by_role(split, place)
            ]
            if held:
                message = f"The split {name} holds all images of {', '.join(held)}."
                fix = "Nothing: images that splits share are read once, and counted once in what is said of all."
                found.append(Finding("split-of-splits", "info", message, fix, (name,), 1))
        return found


def _fold_number(name: str) -> int | None:
    """The number in a name that has, beside it, nothing but words of splits and folds; None if it has no such."""
    numbers = re.findall(r"\d+", name)
    words = re.sub(r"\d+", " ", name.lower()).strip(" _.-")
    if len(numbers) != 1 or int(numbers[0][:9]) >= _MOST_FOLDS or not _FOLD.fullmatch(words):
        return None
    return int(numbers[0])
