"""Where a folder's class file lies, which files are class files by their names, and how they say that masks lie."""

from __future__ import annotations

import re
from pathlib import Path

from vitseg.data.class_spellings import BY_SUFFIX, CLASS_FILES
from vitseg.data.listing import files_of
from vitseg.data.mask_pose import KEY, MaskPose, fields_of, is_pose_alone, pose_of
from vitseg.errors import DataError


def find_class_file(root: Path) -> Path | None:
    """The class file of a folder, if it has one: the first of `CLASS_FILES` that is there, or in a folder of a split.

    One that has only the field `masks` names no classes, and is passed over, see `mask_pose`.

    In the folders of splits, where Roboflow writes it, it is looked for under the name `_classes.csv`.

    Raises:
        DataError: Those of two splits differ.
    """
    found = next((path for path in class_files_of(root) if not is_pose_alone(path)), None)
    if found is not None:
        return found
    of_splits = [path for split in _SPLITS if (path := root / split / _OF_SPLIT).is_file()]
    for path in of_splits[1:]:
        if path.read_bytes().split() != of_splits[0].read_bytes().split():
            raise DataError(
                f"{of_splits[0]} and {path} differ, but all splits have the same classes: export them together."
            )
    return of_splits[0] if of_splits else None


_OF_SPLIT = "_classes.csv"
_SPLITS = ("train", "valid", "val", "test")


def class_files_of(root: Path) -> list[Path]:
    """The class files in a folder itself, in whichever case they are written, the one that is read first."""
    there = {path.name.lower(): path for path in files_of(root, [*BY_SUFFIX])}
    there |= {name: root / name for name in CLASS_FILES if (root / name).is_file()}
    return [there[name] for name in CLASS_FILES if name in there]


def pose_of_folder(root: Path) -> MaskPose:
    """How the masks of a folder lie, by the first of its class files that says it; else upright.

    A JSON or YAML file with this field alone says it for classes that are named elsewhere.

    Raises:
        DataError: The value is none of the two.
    """
    for path in class_files_of(root) if root.is_dir() else ():
        fields = fields_of(path)
        if KEY in fields:
            return pose_of(fields, path)
    return "upright"


def is_class_file(path: Path) -> bool:
    """Whether a file names classes, to judge by its name: it is then no list of images."""
    return path.name.lower() in CLASS_FILES or _CLASS_NAME.fullmatch(path.stem) is not None


_CLASS_NAME = re.compile(
    r"_?(obj|class(es)?|labels?|categor(y|ies)|names?|label[_ -]?map|palette|colou?rs?|color[_ -]?map)"
    r"([_ -]?(names?|list|dict|colou?rs?|map|ids?))?",
    re.IGNORECASE,
)
