"""Where a folder's class file lies, which files are class files by their names, and how they say that masks lie."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from vitseg import parsing
from vitseg.data.class_spellings import BY_SUFFIX, CLASS_FILES, OTHER_FIELDS, read_json, read_yaml
from vitseg.data.listing import files_of
from vitseg.data.mask_pose import KEY, MaskPose, pose_of
from vitseg.errors import DataError


def find_class_file(root: Path) -> Path | None:
    """The class file of a folder, if it has one: the first of `CLASS_FILES` that is there, or in a folder of a split.

    One that names no classes is passed over, see `names_no_class`.

    In the folders of splits, where Roboflow writes it, it is looked for under the name `_classes.csv`.

    Raises:
        DataError: Those of two splits differ.
    """
    found = next((path for path in class_files_of(root) if not names_no_class(path)), None)
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
    path = next(files_with(root, (KEY,)), None)
    return "upright" if path is None else pose_of(fields_of(path), path)


def files_with(root: Path, fields: Collection[str]) -> Iterator[Path]:
    """The class files of a folder that have one of these fields, the one that is read first; or the file itself."""
    for path in class_files_of(root) if root.is_dir() else [root]:
        if not fields_of(path).keys().isdisjoint(fields):
            yield path


def fields_of(path: Path) -> Mapping[str, Any]:
    """The fields of a class file if it has others than classes; else, or where it is unreadable, none.

    What is wrong with it is told by whoever reads the classes.
    """
    reader = CLASS_FILES.get(path.name.lower()) or BY_SUFFIX.get(path.suffix.lower())
    if reader is None or reader not in (read_json, read_yaml):
        return {}
    try:
        text = parsing.read_text(path)
        content: Any = reader(path) if any(field in text for field in OTHER_FIELDS) else {}
    except (ValueError, DataError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def names_no_class(path: Path) -> bool:
    """Whether a class file says something of classes that are named elsewhere, and names none itself."""
    fields = fields_of(path).keys()
    return bool(fields) and fields <= set(OTHER_FIELDS)


def is_class_file(path: Path) -> bool:
    """Whether a file names classes, to judge by its name: it is then no list of images."""
    return path.name.lower() in CLASS_FILES or _CLASS_NAME.fullmatch(path.stem) is not None


_CLASS_NAME = re.compile(
    r"_?(obj|class(es)?|labels?|categor(y|ies)|names?|label[_ -]?map|palette|colou?rs?|color[_ -]?map)"
    r"([_ -]?(names?|list|dict|colou?rs?|map|ids?))?",
    re.IGNORECASE,
)
