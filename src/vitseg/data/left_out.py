"""What lies beside the images of a data set, looks like a part of it and is not used: said in one finding."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vitseg.data.class_choices import CHOICES, choosing_file, known_as
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import class_files_of, files_with
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.listing import files_below
from vitseg.data.splits import IMAGE_FOLDERS
from vitseg.errors import DataError, first_names
from vitseg.images.suffixes import is_image_name, is_other_picture

LEFT_OUT = ("other-picture", "list-not-used", "class-file-not-used")
"""Codes of the findings about files that are not used."""

_IMAGE_FOLDERS = frozenset(name.lower() for name in IMAGE_FOLDERS)


def other_pictures(dataset: SegmentationDataset) -> list[Finding]:
    """The finding about pictures in formats that are not read, in the folders of the images and of the masks."""
    found = [
        folder / name
        for folder in folders_of(dataset)
        for name in files_below(folder)
        if is_other_picture(name)
    ]
    if not found:
        return []
    one = len(found) == 1
    return [
        Finding.of(
            "other-picture",
            "warning",
            f"{len(found):,} file{'' if one else 's'} beside the images {'is' if one else 'are'} named like pictures, "
            f"but in formats that are not read: {first_names([path.name for path in found])}.",
            "They are not used: to use them, save them as PNG, TIFF or JPEG.",
            found,
        )
    ]


def class_files(
    dataset: SegmentationDataset, root: Path, named_by: Path | None = None
) -> list[Finding]:
    """The fact that a folder has class files which say something else than the one that is used.

    It is a warning where one merges, ignores or colours classes, since that has no effect.

    Args:
        dataset: The data set.
        root: Its folder.
        named_by: The class file that names its classes; None: annotations do.
    """
    classes: dict[Path, Mapping[int, str]] = {}
    for path in class_files_of(root):
        try:
            classes[path] = read_class_file(path).classes
        except DataError:  # of which nobody knows what it says
            continue
    names = tuple(dict.fromkeys(dataset.labels.raw_names.values()))
    used = next(iter(classes), None)
    if used is not None and set(classes[used].values()) == set(
        known_as(classes[used].values(), names)
    ):
        others = [path for path in classes if classes[path] != classes[used]]
        instead = used.name
    else:  # the annotations name the classes themselves
        others = [path for path in classes if not known_as(classes[path].values(), names)]
        instead = "the annotations"
    idle = _without_effect(names, root, named_by)
    others += [path for path in idle if path not in others]
    if not others:
        return []
    called = first_names([path.name for path in others])
    fix = "Remove what is out of date."
    if idle:
        what = first_names([path.name for path in idle])
        fix += (
            f" What {what} merges, ignores or colours has no effect: write it into one class file, with the names that "
            "the classes have."
        )
    return [
        Finding.of(
            "class-file-not-used",
            "warning" if idle else "info",
            f"The classes are those of {instead}; {called} {'says' if len(others) == 1 else 'say'} something else.",
            fix,
            others,
        )
    ]


def _without_effect(names: Sequence[str], root: Path, named_by: Path | None) -> list[Path]:
    """The class files that merge, ignore or colour classes, and are not asked for it."""
    applied = {named_by}
    with suppress(DataError):  # malformed
        applied.add(choosing_file(names, root, named_by))
    return [path for path in files_with(root, CHOICES) if path not in applied]


def folders_of(dataset: SegmentationDataset) -> list[Path]:
    """The folders of a data set's images and of its masks that are pictures, none within another."""
    if dataset.in_memory:
        return []
    folders: set[str] = set()
    for index, source in enumerate(dataset.images):
        folders.add(os.path.dirname(str(source)))
        for path in dataset.masks.files(index):
            if is_image_name(path.name):
                folders.add(os.path.dirname(path))
    return outermost(map(Path, folders))


def outermost(folders: Iterable[Path]) -> list[Path]:
    """The folders of images to look through, none within another; of one within `images`, that."""
    tops = {_image_folder(folder) for folder in folders}
    return sorted(top for top in tops if not any(parent in tops for parent in top.parents))


def _image_folder(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if candidate.name.lower() in _IMAGE_FOLDERS:
            return candidate
    return folder
