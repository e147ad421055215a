"""The split of a run: the data set's own, or one that is made by scene, seeded, with rare classes on both sides."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from vitseg.data.catalog import list_splits, open_unchecked
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.listed_split import is_list, write_list
from vitseg.data.picked import picked, spread_indices
from vitseg.data.splits import usual_split
from vitseg.errors import DataError
from vitseg.plan.scenes import Scenes, find_scenes
from vitseg.runs import TRAIN_LIST, VAL_LIST

VAL_SHARE = 0.2
MOST_VAL = 500
"""Images of a validation split that is made: a score on more is hardly more certain, and takes longer."""

MOST_COUNTED = 1000
"""Masks that are read for the classes of every image; of larger sets, rare classes fall where they fall."""

_UNPAIRED = ("image-without-mask", "id-without-image")
_TEST = re.compile(r"test(ing)?\d*", re.I)


@dataclass(frozen=True)
class Split:
    """What a run trains and validates on.

    Attributes:
        train_set: Pairs to train on.
        val_set: Pairs to validate on.
        train_name: What the recipe calls the former: a split of the data set, or the file that lists it.
        val_name: The same of the latter.
        words: Where it comes from.
        num_unpaired: Images without mask that were left out.
        warnings: What the user should know of it.
    """

    train_set: SegmentationDataset
    val_set: SegmentationDataset
    train_name: str
    val_name: str
    words: str
    num_unpaired: int = 0
    warnings: tuple[str, ...] = ()


class SplitMaker:
    """Opens or makes the split of a run.

    Args:
        spec: `NAME:ROOT`.
        labels: `merge` and `ignore` of the recipe's data section, where they are given.
        folder: Where lists of ids are written.
        seed: Seed of a split that is made.
        seconds: For so long images are compared at most, and for so long masks are read, to make one.
    """

    def __init__(
        self,
        spec: str,
        labels: Mapping[str, Any],
        folder: Path,
        seed: int,
        seconds: float = 30.0,
    ):
        self.spec = spec
        self.seconds = seconds
        self.labels = {name: labels[name] for name in ("merge", "ignore") if name in labels}
        self.folder = folder
        self.seed = seed

    def make(self, train: str | None = None, val: str | None = None) -> Split:
        """The split.

        Args:
            train: Split that the user wants to train on; None: the usual one.
            val: Split that he wants to validate on; None: the usual one, or one is made.

        Raises:
            DataError: There are no pairs, or only one; or no such split.
        """
        names = list_splits(self.spec)
        train = train or usual_split("train", names)
        val = val or usual_split("val", names)
        if train is not None and val is not None:
            return self._own(train, val)
        base = train or _all_of(names, val, self.spec)
        whole, unpaired = self._open(base)
        if val is not None:  # a validation split alone, with images outside of it
            val_set, more = self._open(val)
            return self._listed(whole, val_set, f"{base} and {val}", unpaired + more, ())
        return self._made(whole, unpaired)

    def fewer_to_validate(self, split: Split, most: int) -> Split:
        """The same with at most so many images to validate on, evenly spread, as a list of the run's own."""
        if len(split.val_set) <= most:
            return split
        some = picked(split.val_set, spread_indices(len(split.val_set), most))
        words = f"{split.words}; validated on {most} of {len(split.val_set):,} images, evenly spread, to save time"
        path = self.folder / VAL_LIST
        base = _base_of(split.val_name, split.val_set)
        write_list(path, base, some.ids)
        named = replace(some, split=path.stem)
        return replace(split, val_set=named, val_name=str(path), words=words)

    def _open(self, name: str) -> tuple[SegmentationDataset, int]:
        """A split without what is wrong with single files but lacks a partner; and how many images do."""
        dataset = open_unchecked(self.spec, name, **self.labels)
        unpaired = sum(each.count for each in dataset.findings if each.code in _UNPAIRED)
        if not len(dataset):
            found = next((each for each in dataset.findings if each.severity == "error"), None)
            what = f"{found.message} {found.fix}" if found else f"split {name} is empty."
            raise DataError(f"{self.spec}: there is no image with a mask. {what}")
        for finding in dataset.findings:
            if finding.severity == "error" and finding.code not in _UNPAIRED:
                raise DataError(f"{finding.message} {finding.fix}")
        kept = tuple(each for each in dataset.findings if each.code not in _UNPAIRED)
        return replace(dataset, findings=kept), unpaired

    def _own(self, train: str, val: str) -> Split:
        train_set, unpaired = self._open(train)
        val_set, more = self._open(val)
        words = f"the splits {train_set.split} and {val_set.split} of the data set"
        if unpaired + more == 0:
            return Split(train_set, val_set, train, val, words)
        return self._listed(train_set, val_set, words, unpaired + more, ())

    def _made(self, whole: SegmentationDataset, unpaired: int) -> Split:
        count = len(whole)
        if count < 2:
            raise DataError(
                f"{self.spec} has one image with a mask: at least two are needed, one to train on and one to validate "
                "on. Label more, some twenty to begin with."
            )
        scenes = find_scenes(whole, self.seconds)
        present = _present(whole, self.seconds)
        chosen = divide(scenes, present, self.seed)
        others = sorted(set(range(count)) - set(chosen))
        told = f"by scene, told by {scenes.told_by}" if scenes.told_by else "at random"
        words = f"split {told} (seed {self.seed})"
        warnings = _lone_classes(whole, present, others, chosen)
        if len(chosen) < 5:
            warnings.append(
                f"only {len(chosen)} image{'' if len(chosen) == 1 else 's'} to validate on: the score says little "
                "about new images; label more."
            )
        return self._listed(
            picked(whole, others), picked(whole, chosen), words, unpaired, tuple(warnings)
        )

    def _listed(
        self,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        words: str,
        unpaired: int,
        warnings: tuple[str, ...],
    ) -> Split:
        """The split by lists of ids in the run's folder."""
        paths = self.folder / TRAIN_LIST, self.folder / VAL_LIST
        sets = train_set, val_set
        for path, dataset in zip(paths, sets, strict=True):
            write_list(path, dataset.split, dataset.ids)
        train_set, val_set = (
            replace(each, split=path.stem) for each, path in zip(sets, paths, strict=True)
        )
        names = str(paths[0]), str(paths[1])
        return Split(train_set, val_set, *names, words, unpaired, warnings)


def divide(scenes: Scenes, present: Bool[np.ndarray, "n k"] | None, seed: int) -> list[int]:
    """The images to validate on, whole scenes, some 20 %; the others are trained on.

    Classes are looked at from the rarest on: one that several scenes show is shown on both sides.

    Args:
        scenes: Scene of every image.
        present: Whether image n shows class k; None: not known.
        seed: Seed of what is left to chance.
    """
    of_image = np.array(scenes.of_image)
    numbers = np.unique(of_image)
    numbers = numbers[np.random.default_rng(seed).permutation(len(numbers))]
    sizes = np.array([(of_image == number).sum() for number in numbers])
    wanted = min(MOST_VAL, max(1, round(VAL_SHARE * len(of_image))))
    shows = np.zeros((len(numbers), 0), bool)  # (scenes, k)
    if present is not None:
        shows = np.stack([present[of_image == number].any(0) for number in numbers])
    left, chosen = shows.sum(0), np.zeros(len(numbers), bool)

    def take(scene: int, limit: float) -> bool:
        """Take a scene, unless its classes or the training would be left without any."""
        own = shows[scene]
        if chosen[scene] or sizes[chosen].sum() + sizes[scene] > limit or (left[own] < 2).any():
            return False
        if chosen.sum() + 1 < len(numbers):
            chosen[scene] = True
            left[own] -= 1
        return bool(chosen[scene])

    most = 1.5 * wanted
    for k in np.argsort(shows.sum(0), kind="stable").tolist():
        if not (shows[:, k] & chosen).any():
            scenes_of_class = np.flatnonzero(shows[:, k])
            small_first = scenes_of_class[np.argsort(sizes[scenes_of_class], kind="stable")]
            any(take(scene, most) for scene in small_first.tolist())
    for limit in (wanted, most):
        for scene in range(len(numbers)):
            if sizes[chosen].sum() < wanted:
                take(scene, limit)
    if not chosen.any():
        chosen[sizes.argmin()] = True
    return np.flatnonzero(np.isin(of_image, numbers[chosen])).tolist()


def _present(dataset: SegmentationDataset, seconds: float) -> Bool[np.ndarray, "n k"] | None:
    """Whether image n shows class k; None where to read all masks takes too long."""
    if len(dataset) > MOST_COUNTED:
        return None
    began, count = time.monotonic(), dataset.classes.num_classes
    rows = []
    for index in range(len(dataset)):
        label_map = dataset.label_map(index)
        rows.append(np.bincount(label_map[label_map >= 0], minlength=count) > 0)
        if time.monotonic() - began > seconds:
            return None
    return np.stack(rows)


def _lone_classes(
    dataset: SegmentationDataset,
    present: Bool[np.ndarray, "n k"] | None,
    train: Sequence[int],
    val: Sequence[int],
) -> list[str]:
    """What is to be said of classes that one side alone shows."""
    if present is None:
        return []
    names = np.array(dataset.classes.names, object)
    lines = []
    for side, other, verb in ((train, val, "validated"), (val, train, "trained")):
        lone = names[present[list(side)].any(0) & ~present[list(other)].any(0)].tolist()
        if lone:
            lines.append(
                f"not {verb} on, for want of scenes that show {'it' if len(lone) == 1 else 'them'}: {', '.join(lone)}."
            )
    return lines


def _all_of(names: Sequence[str], val: str | None, spec: str) -> str:
    """The one split that is all there is to train on.

    Raises:
        DataError: There are several, and none is for training.
    """
    others = [name for name in names if name != val and not _TEST.fullmatch(name)]
    if len(others) == 1:
        return others[0]
    raise DataError(
        f"{spec} has the splits {', '.join(names)}, and it is not clear which to train on: say so with "
        "data.train_split=NAME, and data.val_split=NAME for the one to validate on."
    )


def _base_of(name: str, dataset: SegmentationDataset) -> str:
    """The data set's own split that a set is of, also where a list has picked it."""
    if not is_list(name):
        return dataset.split
    first = Path(name).read_text(encoding="utf-8").splitlines()[0]
    return first.rpartition("split ")[2]
