"""The part of a data set that teaches new classes: all pixels of other classes count as none of the new ones."""

from __future__ import annotations

from collections.abc import Sequence

from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.statistics import class_statistics
from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.extend.tasks import require_new_names

REST_NAMES = (
    "background", "bg", "backgrnd", "rest", "other", "others", "unlabelled", "unlabeled", "unannotated", "unclassified",
    "unknown", "void", "none", "nothing", "ignore", "no_label", "no label", "no_class", "no class",
)  # fmt: skip
"""What a class is called that takes the pixels of no other class, in lower case and without underscores around."""


def is_rest(name: str) -> bool:
    """Whether a class is called like the rest that is no other class."""
    return name.lower().strip("_ ") in REST_NAMES


def chosen_classes(
    dataset: SegmentationDataset, known: ClassTable, wanted: Sequence[str]
) -> list[str]:
    """The classes to learn, in the data set's order.

    A class of the pixels that are no other class is never new by itself: learnt as one, it would take the pixels of all
    classes that the new data have no label for. One that the reader of the data fills with what nobody annotated cannot
    even be asked for.

    Args:
        dataset: A split of the new data.
        known: The model's classes.
        wanted: Names; none: all that the model does not know, without the rest.

    Raises:
        ConfigError: One is no class of the data set, is named twice, is known already, or is the reader's rest; or
            nothing is new.
    """
    names = dataset.classes.names
    for name in wanted:
        if name not in names:
            raise ConfigError(f"--classes: {unknown_name('class', name, names)}")
    twice = sorted({name for name in wanted if list(wanted).count(name) > 1})
    if twice:
        raise ConfigError(f"--classes names {', '.join(twice)} twice: name each class once.")
    require_new_names(known, wanted)
    added = dataset.labels.rest
    if added in wanted:
        others = [name for name in names if name != added and name not in known.names]
        raise ConfigError(
            f"--classes names {added}, but in {dataset.name} that is what pixels without annotation count as: learnt "
            "as a class, it would take the old classes' pixels. Name others ("
            f"{', '.join(others) or 'there are none'}); if it has annotations of its own, give it another name in the "
            "class file."
        )
    unknown = [name for name in names if name not in known.names]
    rest = [] if wanted else [name for name in unknown if name == added or is_rest(name)]
    new = [name for name in unknown if name not in rest and (name in wanted or not wanted)]
    if not new:
        not_new = f", and {', '.join(rest)} is what is none of these" if rest else ""
        raise ConfigError(
            f"the model knows all classes of {dataset.name} already "
            f"({', '.join(name for name in names if name not in rest) or 'none'}){not_new}: there is nothing to learn."
        )
    return new


def announcement(
    dataset: SegmentationDataset, known: ClassTable, names: Sequence[str], source: str
) -> str:
    """What is about to be learnt, and what is not and why, in one line.

    Args:
        dataset: A split of the new data.
        known: The model's classes.
        names: What `chosen_classes` says.
        source: What the user calls the data.
    """
    left = [name for name in dataset.classes.names if name not in names]
    rest = [name for name in left if name == dataset.labels.rest or is_rest(name)]
    others = [name for name in left if name not in rest and name not in known.names]
    familiar = [name for name in left if name not in rest and name in known.names]
    parts = [
        f"learning {', '.join(names)} from {source}",
        f"not learnt, since it is what no class covers: {', '.join(rest)}" if rest else "",
        f"not learnt, since --classes leaves it out: {', '.join(others)}" if others else "",
        f"known already: {', '.join(familiar)}" if familiar else "",
    ]
    return "; ".join(part for part in parts if part)


def require_no_rest(dataset: SegmentationDataset) -> None:
    """Raise ConfigError if a class to be learnt is what the reader gives to pixels without annotation."""
    if dataset.labels.rest is not None:
        raise ConfigError(
            f"{dataset.labels.rest} of {dataset.name} is what pixels without annotation count as, and no class to "
            "learn: leave it out of the training set."
        )


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
