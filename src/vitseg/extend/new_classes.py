"""The part of a data set that teaches new classes: all pixels of other classes count as none of the new ones."""

from __future__ import annotations

from collections.abc import Sequence

from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.statistics import class_statistics
from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.extend.tasks import require_new_names


def chosen_classes(
    dataset: SegmentationDataset, known: ClassTable, wanted: Sequence[str]
) -> list[str]:
    """The classes to learn, in the data set's order.

    Args:
        dataset: A split of the new data.
        known: The model's classes.
        wanted: Names; none: all that the model does not know.

    Raises:
        ConfigError: One is no class of the data set, is named twice, is known already; or nothing is new.
    """
    names = dataset.classes.names
    for name in wanted:
        if name not in names:
            raise ConfigError(f"--classes: {unknown_name('class', name, names)}")
    twice = sorted({name for name in wanted if list(wanted).count(name) > 1})
    if twice:
        raise ConfigError(f"--classes names {', '.join(twice)} twice: name each class once.")
    require_new_names(known, wanted)
    new = [name for name in names if name in wanted or not (wanted or name in known.names)]
    if not new:
        raise ConfigError(
            f"the model knows all classes of {dataset.name} already ({', '.join(names)}): there is nothing to learn."
        )
    return new


def only(dataset: SegmentationDataset, names: Sequence[str]) -> SegmentationDataset:
    """The data set with these classes alone; pixels of all others count as none of them."""
    others = [name for name in dataset.classes.names if name not in names]
    return dataset.with_labels(dataset.labels.merged(ignore=others)) if others else dataset


def images_with_classes(dataset: SegmentationDataset) -> dict[str, int]:
    """In how many images each class has a pixel, by name; every mask is read.

    Raises:
        DataError: A mask cannot be read, or holds an id outside the table.
    """
    counts = class_statistics(dataset).images
    return dict(zip(dataset.classes.names, counts.tolist(), strict=True))


def require_pixels(dataset: SegmentationDataset) -> dict[str, int]:
    """`images_with_classes`, but raises DataError if a class has no pixel at all."""
    counts = images_with_classes(dataset)
    absent = [name for name, count in counts.items() if not count]
    if absent:
        raise DataError(
            f"no mask of {dataset.name}'s split {dataset.split} ({len(dataset)} images) has a pixel of "
            f"{', '.join(absent)}: label some, or leave it out of --classes. `vitseg data check` shows what the masks "
            "hold."
        )
    return counts
