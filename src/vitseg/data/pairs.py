"""Which image belongs to which mask: the folders, splits and file names of data sets in plain files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.data.finding import Finding
from vitseg.errors import DataError
from vitseg.images.decode import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "JPEGImages")
"""Names of folders of images, the usual one first."""

MASK_FOLDERS = ("masks", "mask", "gts", "gt", "annotations", "labels", "SegmentationClass")
"""Names of folders of masks, the usual one first."""

SPLIT_FOLDERS = ("", "splits", "ImageSets/Segmentation")
"""Folders in which split files are looked for."""

_NOT_SPLITS = ("classes.txt", "labelmap.txt")
_MAX_NAMED = 3


class Pairs(NamedTuple):
    """Images and masks of one split, in the same order, and what was wrong with the listing."""

    ids: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    findings: tuple[Finding, ...]


class Folders(NamedTuple):
    """Where a split's images and masks are, and which text file lists its ids."""

    images: Path
    masks: Path
    listed: Path | None
    inside: str  # sub-folder of the split that goes before the others


def find_splits(root: Path) -> dict[str, Folders]:
    """The splits of a folder by name.

    A split is a text file `SPLIT.txt` of ids, a pair of folders `images/SPLIT` and `masks/SPLIT`, both (the ids are
    then looked up in the pair first), or a folder `SPLIT/` that holds the pair. Without any of these there is one
    split, `all`.

    Raises:
        DataError: The folder, or its images or masks, are missing or not clearly named.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUT}")
    pair = _pair(root)
    if pair is None:
        nested = {
            child.name: Folders(*inner, None, "")
            for child in sorted(root.iterdir())
            if child.is_dir() and (inner := _pair(child))
        }
        if not nested:
            missing = "images" if _child(root, IMAGE_FOLDERS) is None else "masks"
            raise DataError(f"{root / missing} is not a folder. {_LAYOUT}")
        return nested
    images, masks = pair
    listed = {
        path.stem: path
        for folder in reversed(SPLIT_FOLDERS)
        for path in sorted((root / folder).glob("*.txt"))
        if path.name not in _NOT_SPLITS
    }
    inside = _sub_folders(images) & _sub_folders(masks)
    names = sorted({*listed, *inside})
    if not names:
        return {"all": Folders(images, masks, None, "")}
    return {
        name: Folders(images, masks, listed.get(name), name if name in inside else "")
        for name in names
    }


_LAYOUT = "A data set folder holds images/, masks/ and classes.json."


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
    raise DataError(f"{split!r} is not a split of {where}. Valid: {', '.join(sorted(known))}.")


_ALIASES = {"train": r"train(ing)?\d*", "val": r"val(id(ation)?)?\d*", "test": r"test(ing)?\d*"}


def list_pairs(folders: Folders, image_suffix: str = "", mask_suffix: str = "") -> Pairs:
    """The pairs of a split; what has no partner becomes a finding.

    Image and mask are matched by their path below their folder, without suffix. Where no path matches, an ending that
    all images have in common and one that all masks have in common are left out (`001_img.jpg`, `001_gt.png`).

    Args:
        folders: Folders of the images and masks.
        image_suffix: Ending of the images' stems that is no part of the id (`_leftImg8bit`); images without it are
            passed over.
        mask_suffix: The same for the masks.

    Raises:
        DataError: A text file of ids is unreadable or empty, or there are no images at all.
    """
    findings: list[Finding] = []
    images = _files_below(folders.images, image_suffix, findings)
    masks = _files_below(folders.masks, mask_suffix, findings)
    if not image_suffix and not mask_suffix and images and masks and not set(images) & set(masks):
        images, masks = _without_common_ending(images), _without_common_ending(masks)
    listed = None if folders.listed is None else _listed_ids(folders.listed)
    if listed is None:
        images, masks = _only_inside(images, folders.inside), _only_inside(masks, folders.inside)
        if not images:
            folder = folders.images / folders.inside
            raise DataError(
                f"{folder} holds no images. Known suffixes: {', '.join(IMAGE_SUFFIXES)}."
            )
    elif folders.inside:
        images = images | _only_inside(images, folders.inside)
        masks = masks | _only_inside(masks, folders.inside)
    ids = sorted(images) if listed is None else listed
    findings += _missing(ids, images, folders.images, "id-without-image", "image")
    known = [key for key in ids if key in images]
    findings += _missing(known, masks, folders.masks, "image-without-mask", "mask")
    if listed is None:
        findings += _lonely_masks(masks, images)
    whole = [key for key in known if key in masks]
    return Pairs(
        tuple(whole),
        tuple(images[key] for key in whole),
        tuple(masks[key] for key in whole),
        tuple(findings),
    )


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


def _sub_folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}


def _files_below(folder: Path, ending: str, findings: list[Finding]) -> dict[str, Path]:
    """Image files by their path below `folder`, without suffix and `ending`; hidden files are no images."""
    files: dict[str, Path] = {}
    twice: list[Path] = []
    for parent, _, names in os.walk(folder, followlinks=True):
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in IMAGE_SUFFIXES or name[0] == "." or not stem.endswith(ending):
                continue
            key = prefix + stem.removesuffix(ending)
            path = Path(parent, name)
            if key in files:
                twice.append(path)
                continue
            files[key] = path
    if twice:
        other = files[_key_of(twice[0], folder, ending)]
        findings.append(
            Finding.of(
                "same-stem",
                "error",
                f"{other} and {twice[0]} have the same stem{_and_more(len(twice))}.",
                "Remove one: which belongs to the mask is not clear.",
                twice,
            )
        )
    return files


def _key_of(path: Path, folder: Path, ending: str) -> str:
    return path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)


def _and_more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


_ENDING = re.compile(r"[_.-][A-Za-z]+$")


def _without_common_ending(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files with the ending of their stems left out that all have: `_`, `-` or `.` and letters."""
    endings = {found.group() if (found := _ENDING.search(key)) else "" for key in files}
    ending = endings.pop() if len(endings) == 1 else ""
    if not ending:
        return dict(files)
    return {key.removesuffix(ending): path for key, path in files.items()}


def _only_inside(files: Mapping[str, Path], folder: str) -> dict[str, Path]:
    """The files of a sub-folder, by their path below it; all files if there is none."""
    if not folder:
        return dict(files)
    prefix = f"{folder}/"
    return {key.removeprefix(prefix): path for key, path in files.items() if key.startswith(prefix)}


def _listed_ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable text file: {error}.") from error
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise DataError(f"{path} lists no ids: write one a line, without suffix.")
    return ids


def _missing(
    ids: Sequence[str], files: Mapping[str, Path], folder: Path, code: str, kind: str
) -> list[Finding]:
    missing = [key for key in ids if key not in files]
    if not missing:
        return []
    named = ", ".join(missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
    return [
        Finding.of(
            code,
            "error",
            f"{len(missing)} of {len(ids)} ids have no {kind} file in {folder}: {named}.",
            "Image and mask are matched by the path without suffix; remove the ids or add the files.",
            missing,
        )
    ]


def _lonely_masks(masks: Mapping[str, Path], images: Mapping[str, Path]) -> list[Finding]:
    lonely = [path for key, path in masks.items() if key not in images]
    if not lonely:
        return []
    return [
        Finding.of(
            "mask-without-image",
            "warning",
            f"{len(lonely)} masks have no image of the same name.",
            "Add the images, or remove the masks: they are not used.",
            lonely,
        )
    ]
