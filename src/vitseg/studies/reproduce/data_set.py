"""The data set of a shipped recipe: how large it is, where it comes from, and whether it is at hand. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitseg.data.catalog import DATASETS, open_dataset
from vitseg.data.official.published import Published
from vitseg.data.official.tables import read_table
from vitseg.errors import DataError, first_names
from vitseg.prepare.table import PREPARATIONS

TABLES = {"cityscapes": "cityscapes_train_ids"}
"""Class tables that are not named after their data set."""


class DataSet(NamedTuple):
    """What a recipe is trained and scored on.

    Attributes:
        name: As `NAME:ROOT` has it.
        images: Of each split that is asked for, by its name; None: the official number is not known.
        licence: Terms of use, in a line.
        source: What to do to get it.
    """

    name: str
    images: dict[str, int | None]
    licence: str
    source: str


def find_data_set(name: str, splits: Sequence[str]) -> DataSet | None:
    """What is known of the data set that a recipe is for; None: it is one's own.

    Args:
        name: The data set of the recipe, the folder that it is in.
        splits: Splits whose images are wanted.
    """
    if name not in PREPARATIONS or not isinstance(DATASETS.get(name), Published):
        return None
    known = PREPARATIONS[name]
    command = f"vitseg data prepare {name} --out ROOT"
    if known.by_hand:
        command = f"{known.by_hand}, then vitseg data prepare {name} --source FOLDER --out ROOT"
    images = {split: _official(known.images, split) for split in splits}
    return DataSet(name, images, known.licence, command)


def require_data_set(name: str, source: str, splits: Sequence[str]) -> tuple[str, ...]:
    """See that a data set is the one that a recipe is for, in whatever format; returns what it lacks, a line each.

    Args:
        name: The data set of the recipe.
        source: `NAME:ROOT`.
        splits: Splits that the recipe trains and is scored on.

    Raises:
        DataError: It cannot be read, or its classes are not those of the recipe's data set.
    """
    wanted = find_data_set(name, splits)
    if wanted is None:
        return ()
    names = read_table(TABLES.get(name, name), "").classes.names
    lacking = []
    for split, official in wanted.images.items():
        dataset = open_dataset(source, split)
        if dataset.classes.names != names:
            raise DataError(
                f"{source} has the classes {first_names(dataset.classes.names)}, but the recipe is for {name} with "
                f"{len(names)}: {first_names(names)}. Pass --data {name}:ROOT."
            )
        if official is not None and len(dataset) != official:
            lacking.append(
                f"{dataset.split} has {len(dataset):,} images, but {official:,} are official: scores are not those of "
                "the published data"
            )
    return tuple(lacking)


def _official(images: Mapping[str, int], split: str) -> int | None:
    """Images of a split by the official page, which knows "val" for "validation" and "test" for "test2014"."""
    return next((count for name, count in images.items() if split.startswith(name)), None)
