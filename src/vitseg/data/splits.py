"""The splits of a data set in plain files: its folders of images and masks, and the text files that list ids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.data.class_files import is_class_file
from vitseg.data.listing import (
    files_below,
    image_names_below,
    is_hidden,
    read_lines,
    same_name,
    sub_folders,
)
from vitseg.errors import DataError, first_names
from vitseg.images.decode import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "JPEGImages")
"""Names of folders of images, the usual one first."""

MASK_FOLDERS = (
    "masks", "mask", "gts", "gt", "annotations", "labels", "SegmentationClass", "SegmentationClassPNG",
)  # fmt: skip
"""Names of folders of masks, the usual one first."""

MASK_ENDINGS = ("_mask", "-mask", "_masks", "_gt", "_label", "_labels", "_seg", "annot", "_annot")
"""What the name of a mask, or of a folder of masks, has more than that of its image, where both lie side by side."""

SPLIT_FOLDERS = ("", "splits", "ImageSets/Segmentation")
"""Folders in which split files are looked for."""

_USUAL_SPLIT = re.compile(r"(train(ing)?|val(id(ation)?)?|test(ing)?|trainval|default)\d*", re.I)
_SNIFFED = 65536  # bytes of a text file by which it is seen whether it lists images


class Folders(NamedTuple):
    """Where a split's images and masks are, and which text file lists its ids.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks; that of the images, too, where both lie side by side.
        listed: Text file with one id a line; None: every image of the folder.
        inside: Sub-folder of the split that goes before the others.
        mask_ending: What the stem of a mask has more than that of its image.
    """

    images: Path
    masks: Path
    listed: Path | None
    inside: str
    mask_ending: str = ""


def find_splits(root: Path) -> dict[str, Folders]:
    """The splits of a folder by name.

    A split is a text file `SPLIT.txt` of ids, a pair of folders `images/SPLIT` and `masks/SPLIT`, both (the ids are
    then looked up in the pair first; a pair whose name is no usual one is a split only where there is no text file and
    no image beside it), a folder `SPLIT/` that holds the pair, two folders `SPLIT/` and `SPLITannot/`, or
    a folder in which masks lie beside their images (`a.jpg`, `a_mask.png`). Without any of these there is one split,
    `all`. A text file is a split if its lines are ids of images: notes and lists of classes are none.

    Raises:
        DataError: The folder, or its images or masks, are missing or not clearly named.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUT}")
    pair = _pair(root)
    if pair is not None:
        return _of_pair(root, *pair)
    children = sub_folders(root)
    nested = {name: Folders(*inner, None, "") for name in children if (inner := _pair(root / name))}
    nested = nested or _annotated_beside(root, children) or _side_by_side(root, children)
    if not nested:
        missing = "images" if _child(root, IMAGE_FOLDERS) is None else "masks"
        raise DataError(f"{root / missing} is not a folder. {_LAYOUT}")
    return _with_lists(root, nested)


_LAYOUT = "A data set folder holds images/, masks/ and classes.json."


def _of_pair(root: Path, images: Path, masks: Path) -> dict[str, Folders]:
    """The splits of `root/images` and `root/masks`."""
    listed = split_lists(root, [images])
    inside = set(sub_folders(images)) & set(sub_folders(masks))
    if listed or _holds_images(images):  # else a folder of any name is a split
        inside = {name for name in inside if name in listed or _USUAL_SPLIT.fullmatch(name)}
    names = sorted({*listed, *inside})
    if not names:
        return {"all": Folders(images, masks, None, "")}
    return {
        name: Folders(images, masks, listed.get(name), name if name in inside else "")
        for name in names
    }


def _holds_images(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(
        os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()
        for entry in os.scandir(folder)
        if not is_hidden(entry.name)
    )


def _annotated_beside(root: Path, children: Sequence[str]) -> dict[str, Folders]:
    """Two folders per split, as CamVid has them: `train/` and `trainannot/`."""
    found: dict[str, Folders] = {}
    for name in children:
        ending = next((end for end in MASK_ENDINGS if name + end in children), None)
        if ending is not None:
            found[name] = Folders(root / name, root / (name + ending), None, "")
    return found


def _side_by_side(root: Path, children: Sequence[str]) -> dict[str, Folders]:
    """Folders in which masks lie beside their images."""
    found = {
        name: Folders(root / name, root / name, None, "", ending)
        for name in children
        if (ending := _mask_ending(files_below(root / name)))
    }
    if not found:
        own = [path.name for path in root.iterdir() if path.is_file()]
        ending = _mask_ending(own)
        return {"all": Folders(root, root, None, "", ending)} if ending else {}
    if len(found) == 1 and next(iter(found)) in IMAGE_FOLDERS:
        return {"all": next(iter(found.values()))}
    return found


def _mask_ending(names: Iterable[str]) -> str:
    """The ending by which at least half of the images have a mask beside them; else ""."""
    stems = {
        stem for stem, suffix in map(os.path.splitext, names) if suffix.lower() in IMAGE_SUFFIXES
    }
    for ending in MASK_ENDINGS:
        masks = {stem for stem in stems if stem.endswith(ending)}
        paired = sum(stem.removesuffix(ending) in stems for stem in masks)
        if paired and 2 * paired >= len(stems) - len(masks):
            return ending
    return ""


def _with_lists(root: Path, splits: Mapping[str, Folders]) -> dict[str, Folders]:
    """The splits with the text files of their names, and further ones that list images of one of their folders."""
    found = dict(splits)
    for name, path in split_lists(root, [folders.images for folders in splits.values()]).items():
        if name in splits:
            found[name] = splits[name]._replace(listed=path)
            continue
        best = max(splits.values(), key=lambda each: _share_of_ids(path, _index(each.images)))
        found[name] = best._replace(listed=path)
    if len(found) > 1 and "all" in splits:
        del found["all"]
    return found


def split_lists(root: Path, images: Sequence[Path]) -> dict[str, Path]:
    """The text files of a folder that list images, by the name of the split.

    Args:
        root: The folder; lists may also lie in `SPLIT_FOLDERS` below it.
        images: Folders of images.
    """
    found: dict[str, Path] = {}
    for folder in reversed(SPLIT_FOLDERS):
        for path in sorted((root / folder).glob("*.txt")):
            if not is_class_file(path) and path.name[0] != "." and _is_list(path, images):
                found[path.stem] = path
    return found


def _is_list(path: Path, images: Sequence[Path]) -> bool:
    """Whether a text file has the name of a split, or at least half of its lines are ids of images."""
    if _USUAL_SPLIT.fullmatch(path.stem):
        return True
    return any(_share_of_ids(path, _index(folder)) >= 0.5 for folder in images)


def _share_of_ids(path: Path, ids: IdIndex) -> float:
    try:
        with path.open("rb") as file:
            data = file.read(_SNIFFED + 1)
        text = data.decode("utf-8-sig", "strict" if len(data) <= _SNIFFED else "ignore")
    except (OSError, UnicodeDecodeError):
        return 0
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(data) > _SNIFFED:
        lines = lines[:-1]  # cut
    return sum(ids.find(line) is not None for line in lines) / max(1, len(lines))


def _index(folder: Path) -> IdIndex:
    return IdIndex(image_names_below(folder), folder.name)


class IdIndex:
    """Finds the image that a line of a list means, in the spellings that lists have.

    Args:
        keys: The ids of the images: paths below their folder, without suffix.
        folder: Name of that folder, which lines may have before the id.
        deep: Whether an id may also be the last part of a key, if that is clear.
    """

    def __init__(self, keys: Iterable[str], folder: str = "", deep: bool = True) -> None:
        self._keys = frozenset(keys)
        self._folder = folder
        self._deep = deep
        self._by_last: dict[str, list[str]] | None = None

    def find(self, line: str) -> str | None:
        """The id that a line means; None if there is no such image.

        A line is an id, perhaps with the suffix of the file, perhaps with the folder of the images or a longer path
        before it; behind it, there may be the path of the mask.
        """
        text = same_name(line.strip())
        if text in self._keys:
            return text
        for name in dict.fromkeys((text, *_first_of_columns(text))):
            found = self._find(name)
            if found is not None:
                return found
        return None

    def _find(self, name: str) -> str | None:
        name = os.path.normpath(name.replace("\\", "/")).lstrip("/")
        while name.startswith("../"):
            name = name[3:]
        stem, suffix = os.path.splitext(name)
        names = (name, stem) if suffix.lower() in IMAGE_SUFFIXES else (name,)
        for each in names:
            if each in self._keys:
                return each
        for each in names:
            parts = each.split("/")
            for place, part in enumerate(parts[:-1]):
                below = "/".join(parts[place + 1 :])
                if part == self._folder and below in self._keys:
                    return below
        return next((key for each in names if (key := self._deeper(each))), None)

    def _deeper(self, name: str) -> str | None:
        """The only key of which the name is the last part."""
        if not self._deep:
            return None
        if self._by_last is None:
            self._by_last = {}
            for key in self._keys:
                if "/" in key:
                    self._by_last.setdefault(key.rpartition("/")[2], []).append(key)
        found = [
            key
            for key in self._by_last.get(name.rpartition("/")[2], ())
            if key.endswith(f"/{name}")
        ]
        return found[0] if len(found) == 1 else None


def _first_of_columns(line: str) -> tuple[str, ...]:
    """The first of several columns of which it is clear that they are paths: `/images/a.png /masks/a.png`."""
    columns = re.split(r"\s*[,;\t]\s*|\s+(?=\S*[/\\])", line)
    if len(columns) < 2:
        return ()
    first = columns[0].strip("\"'")
    is_path = os.path.splitext(first)[1].lower() in IMAGE_SUFFIXES or "/" in columns[1]
    return (first,) if first and is_path else ()


def read_ids(path: Path) -> list[str]:
    """The lines of a text file of ids.

    Raises:
        DataError: It is unreadable or empty.
    """
    ids = read_lines(path)
    if not ids:
        raise DataError(f"{path} lists no ids: write one a line, without suffix.")
    return ids


def splits_of_images(root: Path, folders: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The splits of a folder whose images are known: text files of ids, and folders of a split's usual name; else all.

    Args:
        root: The folder.
        folders: Id of every image -> names of the folders in which it, or what is said about it, lies.
    """
    found: dict[str, list[str]] = {}
    ids = IdIndex(folders, root.name)
    for name, path in split_lists(root, [root]).items():
        keys = (ids.find(line) for line in read_ids(path))
        found[name] = [key for key in dict.fromkeys(keys) if key is not None]
        if not found[name]:
            raise DataError(
                f"none of the lines of {path} names an annotated image of {root}: the images are "
                f"{first_names(list(folders))}."
            )
    listed = frozenset(found)
    for key, names in folders.items():
        for name in dict.fromkeys(names):
            if _USUAL_SPLIT.fullmatch(name) and name not in listed:
                found.setdefault(name, []).append(key)
    return found or {"all": list(folders)}


def choose_split(split: str, known: Sequence[str], where: object) -> str:
    """The name of a split as the data set has it: `val` also stands for `validation` or `val2017` if there is only one.

    Raises:
        DataError: There is no such split.
    """
    if split in known:
        return split
    alike = [name for name in known if re.fullmatch(_ALIASES.get(split, "(?!)"), name)]
    if len(alike) == 1:
        return alike[0]
    message = f"{split!r} is not a split of {where}. Valid: {', '.join(sorted(known))}."
    if isinstance(where, Path) and (where / f"{split}.txt").is_file():
        message += f" {where / f'{split}.txt'} is none, since most of its lines name no image."
    raise DataError(message)


_ALIASES = {"train": r"train(ing)?\d*", "val": r"val(id(ation)?)?\d*", "test": r"test(ing)?\d*"}


def _pair(root: Path) -> tuple[Path, Path] | None:
    images, masks = _child(root, IMAGE_FOLDERS), _child(root, MASK_FOLDERS)
    return None if images is None or masks is None else (images, masks)


def _child(root: Path, names: Sequence[str]) -> Path | None:
    found = [root / name for name in names if (root / name).is_dir()]
    if found and found[0].name == names[0]:
        return found[0]
    if len(found) > 1:
        raise DataError(
            f"{root} has several folders that could be meant: {', '.join(path.name for path in found)}. Rename the "
            f"one that is to be used to {names[0]}."
        )
    return found[0] if found else None
