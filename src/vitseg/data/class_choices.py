"""What class files say beside the names of classes: of classes that are named elsewhere, and of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vitseg.classes import IGNORE_INDEX, ClassTable, folded_name
from vitseg.data.band_choice import declared_bands, with_chosen_bands
from vitseg.data.class_file import ClassFile, read_class_file
from vitseg.data.class_file_places import files_with, names_no_class
from vitseg.data.class_labels import declared_range, ignored_by
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import LabelTable
from vitseg.errors import ConfigError, DataError

CHOICES = ("merge", "ignore", "ignore_index", "palette")
"""Fields of a class file that choose among classes which may be named elsewhere."""


def known_as(named: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Name of a class file -> name that the data has for the class; classes that the data lacks are left out.

    The names are the same, or alike in all but case, blanks around them and Unicode form, where that is clear.

    Args:
        named: Names of the class file.
        names: Those of the data.
    """
    ours, theirs = _by_fold(names), _by_fold(named)
    found: dict[str, str] = {}
    for folded, alike in theirs.items():
        of_data = ours.get(folded, [])
        for name in alike:
            if name in of_data:
                found[name] = name
            elif len(alike) == len(of_data) == 1:
                found[name] = of_data[0]
    return found


def _by_fold(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(folded_name(name), []).append(name)
    return found


def choosing_file(names: Sequence[str], root: Path, named_by: Path | None) -> Path | None:
    """The class file by which classes that it need not name are merged, ignored and coloured; None: there is none.

    Args:
        names: The classes.
        root: The folder of the class files, or a class file itself.
        named_by: The class file that names the classes; None: annotations do.

    Raises:
        DataError: The class file is malformed.
    """
    files = (path for path in files_with(root, CHOICES) if path != named_by)
    path = next((path for path in files if named_by is None or names_no_class(path)), None)
    if path is None:
        return None
    classes = read_class_file(path, needs_classes=False).classes
    return None if classes and not known_as(classes.values(), names) else path


def chosen_by_class_files(labels: LabelTable, root: Path, named_by: Path | None) -> LabelTable:
    """The table with what a class file says of classes that it does not name itself.

    Classes are merged, ignored and coloured by name, see `known_as`. A class file that names others says nothing of
    these.

    Args:
        labels: The table.
        root: The folder of the class files, or a class file itself.
        named_by: The class file that names the classes, of which the table has everything; None: annotations do.

    Raises:
        DataError: A class file is malformed, or merges or ignores what is no class.
    """
    names = labels.classes.names
    path = choosing_file(names, root, named_by)
    if path is None:
        return labels
    file = _in_words_of(names, read_class_file(path, needs_classes=False))
    try:
        if file.classes:
            labels, ignored = _colored_by(labels, file), ignored_by(file, names)
        else:
            labels, ignored = _with_ignored_id(labels, file)
        return labels.merged(file.merge, ignored)
    except (ValueError, ConfigError) as error:
        raise DataError(f"{path}: {error}") from error


def _in_words_of(names: Sequence[str], file: ClassFile) -> ClassFile:
    """A class file with the names that the data has for its classes; what the data lacks keeps its own."""

    def spelt(named: Iterable[str]) -> tuple[str, ...]:
        named = tuple(named)
        known = known_as(named, names)
        return tuple(known.get(name, name) for name in named)

    return file.model_copy(
        update={
            "classes": dict(zip(file.classes, spelt(file.classes.values()), strict=True)),
            "merge": {joint: spelt(members) for joint, members in file.merge.items()},
            "ignore": spelt(file.ignore),
        }
    )


def _colored_by(labels: LabelTable, file: ClassFile) -> LabelTable:
    """The table with the colours that a class file has for classes of the same names."""
    if not file.palette:
        return labels
    color_of = {file.classes[raw]: color for raw, color in file.colors().items()}
    pairs = zip(labels.classes.names, labels.classes.palette, strict=True)
    palette = tuple(color_of.get(name, color) for name, color in pairs)
    return replace(labels, classes=ClassTable(names=labels.classes.names, palette=palette))


def _with_ignored_id(labels: LabelTable, file: ClassFile) -> tuple[LabelTable, tuple[str, ...]]:
    """The table that knows the `ignore_index` of a class file without classes, and the classes that it ignores."""
    raw = file.ignore_index
    if file.palette or (raw is not None and labels.colors):
        raise ValueError(
            "palette and ignore_index are of the ids of classes: list the classes, too"
        )
    index = IGNORE_INDEX if raw is None else labels.mapping.get(raw, IGNORE_INDEX)
    if raw is not None and raw not in labels.mapping:
        labels = labels.with_ignored(raw, "ignore_index")
    of_id = () if index == IGNORE_INDEX else (labels.classes.names[index],)
    return labels, tuple({*file.ignore, *of_id})


def described_by_class_files(
    dataset: SegmentationDataset, class_file: Path, folder: Path | None
) -> SegmentationDataset:
    """A data set whose masks are no files in a folder, with all that its class files say.

    Args:
        dataset: The data set, with the labels of `class_file`.
        class_file: The file that names the classes.
        folder: The folder of the data set, whose class files may say more; None: it is elsewhere.

    Raises:
        DataError: A class file is malformed, or the images have not the bands that it chooses.
    """
    places = [class_file, *([] if folder is None else [folder])]
    labels = (
        dataset.labels
        if folder is None
        else chosen_by_class_files(dataset.labels, folder, class_file)
    )
    ranges = (declared_range(place) for place in places)
    choices = (declared_bands(place) for place in places)
    value_range = next((each for each in ranges if each is not None), None)
    bands = next((each for each in choices if each is not None), None)
    dataset = dataset.with_labels(labels).with_value_range(value_range)
    return dataset if bands is None else with_chosen_bands(dataset, bands)
