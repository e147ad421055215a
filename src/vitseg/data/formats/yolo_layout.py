"""Where YOLO data sets keep their images, labels and class names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vitseg import parsing
from vitseg.data.class_file_places import find_class_file
from vitseg.data.finding import Finding
from vitseg.data.id_lists import USUAL_SPLIT, IdIndex
from vitseg.data.listing import (
    both_ends,
    files_of,
    image_names_below,
    images_below,
    read_lines,
    read_text,
    same_stem,
    sub_folders,
)
from vitseg.data.mask_pose import KEY, MaskPose, pose_of
from vitseg.errors import DataError
from vitseg.images.suffixes import is_image_name

DATA_FILES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
"""Names of the file that describes a data set, the usual one first."""

_NO_SPLITS = frozenset(
    (
        "path",
        "names",
        "nc",
        KEY,
        "download",
        "roboflow",
        "yaml_file",
        "channels",
        "kpt_shape",
        "flip_idx",
    )
)
"""Keys of the file that describes a data set which are no splits, whatever their values."""


class YoloLayout(NamedTuple):
    """A data set as it was found.

    Attributes:
        names: Class number -> name; None where a class file gives them.
        described: The file that describes the data set, or the class file.
        splits: Split -> folders of images, or text files that list images.
        missing: Splits that the file names, but whose images are not there.
        pose: How the polygons lie on images with an orientation tag, by the field `masks`; None: it is not said.
    """

    names: Mapping[int, str] | None
    described: Path
    splits: Mapping[str, tuple[Path, ...]]
    missing: Mapping[str, str] = MappingProxyType({})
    pose: MaskPose | None = None


def find_yolo(root: Path) -> YoloLayout:
    """The splits and names of a data set.

    By `data.yaml` (or `dataset.yaml`) with `names` and entries such as `train`, `val` and `test`, relative to its
    `path` or to the file itself; or by a class file (`classes.txt`, one name a line) beside `images/SPLIT` and
    `labels/SPLIT`, `SPLIT/images` and `SPLIT/labels`, or `images` and `labels`.

    Raises:
        DataError: Neither is there, or the file is malformed or names images that do not exist.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUTS}")
    data_file = find_data_file(root)
    if data_file is not None:
        return _described(data_file)
    candidates = [find_class_file(root), root / "labels" / "classes.txt"]
    class_file = next((path for path in candidates if path is not None and path.is_file()), None)
    if class_file is None:
        raise DataError(f"{root} has neither data.yaml nor a class file. {_LAYOUTS}")
    return YoloLayout(None, class_file, _split_folders(root))


_LAYOUTS = "A YOLO data set holds data.yaml (names, train, val), or classes.txt, images/SPLIT and labels/SPLIT."


def find_data_file(root: Path) -> Path | None:
    """The file that describes a data set: the first of `DATA_FILES` that has a key `names`."""
    there = {path.name.lower(): path for path in files_of(root, (".yaml", ".yml"))}
    for path in (there[name] for name in DATA_FILES if name in there):
        start, end = both_ends(path, parsing.MOST_YAML_BYTES)
        if re.search(rb"(^|[{,])\s*[\"']?names[\"']?\s*:", start + b"\n" + end, re.MULTILINE):
            return path
    return None


def _split_folders(root: Path) -> dict[str, tuple[Path, ...]]:
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        inside = _sub_folders(images) & _sub_folders(labels)
        found = {name: (images / name,) for name in sorted(inside)}
        listed = {
            path.stem: (path,)
            for path in files_of(root, (".txt",))
            if USUAL_SPLIT.fullmatch(path.stem)
        }
        return {**found, **listed} or {"all": (images,)}
    nested = {
        name: (root / name / "images",)
        for name in sorted(_sub_folders(root))
        if (root / name / "images").is_dir() and (root / name / "labels").is_dir()
    }
    if not nested:
        raise DataError(f"{root} has no images/ and labels/. {_LAYOUTS}")
    return nested


def _sub_folders(folder: Path) -> set[str]:
    return set(sub_folders(folder))


def list_images(sources: tuple[Path, ...], findings: list[Finding]) -> dict[str, Path]:
    """Images of the folders and text files of a split, by their path below their folder, without suffix.

    Args:
        sources: The folders and text files.
        findings: Where two images with one stem are noted.

    Raises:
        DataError: A text file is unreadable.
    """
    images: dict[str, Path] = {}
    for source in sources:
        found = _listed(source, findings) if source.is_file() else images_below(source, findings)
        for key, path in found.items():
            images[key if key not in images else path.with_suffix("").as_posix()] = path
    return images


def _listed(path: Path, findings: list[Finding]) -> dict[str, Path]:
    """The images that a text file lists: relative to its folder; a path of another place, by the images below it."""
    images: dict[str, Path] = {}
    twice: list[tuple[Path, Path]] = []
    names: dict[str, str] = {}
    known: IdIndex | None = None
    for line in read_lines(path):
        name = os.path.normpath(line)
        file = path.parent / name
        if not file.is_file():
            if known is None:
                names = image_names_below(path.parent)
                known = IdIndex(names, files=names)
            key = known.find(line)
            if key is not None:
                name = names[key]
                file = path.parent / name
        key = Path(name).with_suffix("").as_posix()
        if key in images and images[key] != file:
            twice.append((images[key], file))
        else:
            images[key] = file
    if twice:
        findings.append(same_stem(twice))
    return images


def label_file(image: Path) -> Path:
    """The label file of an image: the last folder `images` of its path becomes `labels`; else it lies beside it.

    Where an accent in its name is spelt in the other Unicode form, the file of that form; `.TXT` is `.txt`, too.
    """
    file = _label_path(image)
    if file.is_file():
        return file
    others = [file.with_suffix(".TXT")]
    if not file.name.isascii():
        others += [
            file.with_name(unicodedata.normalize(form, file.name)) for form in ("NFC", "NFD")
        ]
    return next((other for other in others if other.is_file()), file)


def _label_path(image: Path) -> Path:
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _described(path: Path) -> YoloLayout:
    try:
        content = parsing.parse_yaml(read_text(path), as_text=True)
    except ValueError as error:
        raise DataError(f"{path} is not a readable YAML file: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is malformed: it must have names, train and val.")
    splits: dict[str, tuple[Path, ...]] = {}
    missing: dict[str, str] = {}
    for name, value in content.items():
        entries = [entry for entry in _as_list(value) if entry not in (*_NOTHING, None)]
        if name.lower() in _NO_SPLITS or not entries:
            continue
        is_usual = USUAL_SPLIT.fullmatch(name) is not None
        try:
            sources = tuple(_source(path, _given(content.get("path")), entry) for entry in entries)
        except DataError as error:
            if is_usual:  # else any other entry of the file
                missing[name] = str(error)
            continue
        if is_usual or all(map(_holds_images, sources)):
            splits[name] = sources
    if missing and not splits:
        raise DataError(next(iter(missing.values())))
    if not splits:
        raise DataError(f"{path} names no images: it needs train, val or test.")
    pose = pose_of(content, path) if KEY in content else None
    return YoloLayout(_names(content.get("names"), path), path, splits, missing, pose)


def _names(names: Any, path: Path) -> dict[int, str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        numbered = {int(number): str(name) for number, name in names.items()}
    except (AttributeError, TypeError, ValueError):
        numbered = {}
    if not numbered:
        raise DataError(
            f"{path} has no usable names: a list of class names, or a mapping of class number to name."
        )
    return numbered


def _source(data_file: Path, path: Any, entry: Any) -> Path:
    """The folder or text file that an entry means.

    Relative to `path`, which is relative to the data file; or to the data file, for a `path` on another machine.
    Roboflow writes `../train/images` for what lies in `train/images`.
    """
    if not isinstance(entry, str):
        raise DataError(f"{data_file} names {str(entry)[:80]!r} as images: a folder or a list.")
    here = data_file.parent
    bases = [here / Path(str(path)).expanduser(), here] if path else [here]
    tried = [base / str(entry) for base in bases]
    if str(entry).startswith("../"):
        tried.append(here / str(entry).removeprefix("../"))
    for candidate in tried:
        whole = os.path.realpath(candidate)
        if whole in (os.path.abspath(os.sep), os.path.realpath(os.path.expanduser("~"))):
            raise DataError(
                f"{data_file} names {entry}, which is {whole} with all that is in it: name the folder of the images."
            )
        if candidate.is_dir() or (candidate.suffix.lower() == ".txt" and candidate.is_file()):
            return candidate
    raise DataError(
        f"{data_file} names {entry}, but {' and '.join(str(place) for place in tried)} do not exist: mend the "
        "entry, or path."
    )


def _holds_images(source: Path) -> bool:
    """Whether a folder holds images, or a text file lists some."""
    if source.is_dir():
        return bool(image_names_below(source))
    return any(map(is_image_name, read_lines(source)))


_NOTHING = ("", "~", "null")


def _given(value: Any) -> Any:
    return None if value in _NOTHING else value


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]
