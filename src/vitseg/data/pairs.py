"""Which image belongs to which mask, where both are files of the same name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vitseg.data.finding import Finding
from vitseg.data.id_lists import IdIndex, read_ids
from vitseg.data.listing import files_below, same_name, same_stem, without_thumbnails
from vitseg.data.splits import Folders
from vitseg.errors import DataError
from vitseg.images.suffixes import ARRAY_SUFFIX, IMAGE_SUFFIXES, is_image_name

_MAX_NAMED = 3


class Pairs(NamedTuple):
    """Images and masks of one split, in the same order, and what was wrong with the listing."""

    ids: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    findings: tuple[Finding, ...]


def list_pairs(
    folders: Folders, image_suffix: str = "", mask_suffix: str = "", may_lack_masks: bool = False
) -> Pairs:
    """The pairs of a split; what has no partner becomes a finding.

    Image and mask are matched by their path below their folder, without suffix. Where no path matches, an ending that
    all images have in common and one that all masks have in common are left out (`001_img.jpg`, `001_gt.png`), or such
    beginnings (`img_001.jpg`, `mask_001.png`).

    Args:
        folders: Folders of the images and masks.
        image_suffix: Ending of the images' stems that is no part of the id (`_leftImg8bit`); images without it are
            passed over.
        mask_suffix: The same for the masks.
        may_lack_masks: Whether images without mask are those that are not labelled yet: they are left out, with a
            warning.

    Raises:
        DataError: A text file of ids is unreadable or empty, there are no images at all, or no image has a mask though
            there are masks.
    """
    findings: list[Finding] = []
    mask_suffix = mask_suffix or folders.mask_ending
    images = _files_below(folders.images, image_suffix, findings, without=folders.mask_ending)
    images = images or _files_below(
        folders.images, image_suffix, findings, suffixes=(ARRAY_SUFFIX,)
    )
    masks = _files_below(folders.masks, mask_suffix, findings)
    spelt = {key: key for key in images}  # as the files spell it -> id
    if not image_suffix and images and masks and not set(images) & set(masks):
        spelt, of_mask = _common_ids(images, masks, mask_suffix)
        images = {spelt[key]: path for key, path in images.items()}
        masks = {of_mask[key]: path for key, path in masks.items()}
    images = without_thumbnails(images, masks, findings)
    if folders.listed is None:
        images, masks = _only_inside(images, folders.inside), _only_inside(masks, folders.inside)
        if not images:
            folder = folders.images / folders.inside
            raise DataError(
                f"{folder} holds no images{_but(folder)}. Known suffixes: {', '.join(IMAGE_SUFFIXES)}."
            )
        known = sorted(images)
        findings += _without_mask(known, masks, folders.masks, may_lack_masks)
        findings += _lonely_masks(masks, images)
    else:
        images = images | _only_inside(images, folders.inside)
        masks = masks | _only_inside(masks, folders.inside)
        listed = find_listed(folders, images, spelt, findings)
        known = list(listed)
        findings += _without_mask(known, masks, folders.masks, may_lack_masks)
    whole = [key for key in known if key in masks]
    if known and masks and not whole:
        raise nothing_pairs(folders.images, known, folders.masks, list(masks))
    return Pairs(
        tuple(whole),
        tuple(images[key] for key in whole),
        tuple(masks[key] for key in whole),
        tuple(findings),
    )


def nothing_pairs(
    images: Path, image_keys: Sequence[str], masks: Path, mask_keys: Sequence[str]
) -> DataError:
    """The error that no image has a mask, which shows the names of both sides."""
    return DataError(
        f"no image of {images} has a mask in {masks}: the {len(image_keys)} images are {_few(image_keys)}; the "
        f"{len(mask_keys)} masks are {_few(mask_keys)}. Image and mask are matched by the path without suffix: give "
        "them the same names."
    )


def find_listed(
    folders: Folders,
    images: Mapping[str, Path],
    spelt: Mapping[str, str],
    findings: list[Finding],
) -> list[str]:
    """The ids that the text file of a split lists and that have an image, each once.

    Args:
        folders: The split, with its text file.
        images: The images by id.
        spelt: What is before the suffix of their files -> id, where that is another.
        findings: Where lines without image, and images that are listed twice, are noted.

    Raises:
        DataError: The file is unreadable or empty, or none of its lines names an image.
    """
    assert folders.listed is not None
    lines = read_ids(folders.listed)
    deep = not folders.inside
    ids = IdIndex(images, (folders.images / folders.inside).name, deep, images)
    whole = {name: images[key] for name, key in spelt.items() if key in images}
    files = IdIndex(spelt, folders.images.name, deep, whole)
    found: dict[Path, str] = {}
    missing: list[str] = []
    twice: list[str] = []
    for line in lines:
        key = ids.find(line)
        if key is None:
            spelling = files.find(line)
            key = None if spelling is None else spelt[spelling]
        if key is None or key not in images:
            if line[0] != "#":  # else it is a comment
                missing.append(line)
        elif images[key] in found:
            twice.append(line)
        else:
            found[images[key]] = key
    if not found and images:
        raise DataError(
            f"{len(missing)} of {len(lines)} ids have no image file in {folders.images}: {_few(missing)}. These are "
            f"the lines of {folders.listed}; the images are {_few(sorted(images))}. Write one id a line: the path of "
            "an image below its folder, without suffix."
        )
    findings += missing_files(lines, missing, images, folders.images, "id-without-image", "image")
    if twice:
        findings.append(
            Finding.of(
                "listed-twice",
                "warning",
                f"{folders.listed} lists {len(twice)} images twice: {_few(twice)}.",
                "They are used once: remove the further lines.",
                twice,
            )
        )
    return list(found.values())


def _files_below(
    folder: Path,
    ending: str,
    findings: list[Finding],
    without: str = "",
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
) -> dict[str, Path]:
    """Image files by their path below `folder`, without suffix and `ending`; those that end with `without` are none."""
    files: dict[str, Path] = {}
    twice: list[tuple[Path, Path]] = []
    for name in files_below(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in suffixes or not stem.endswith(ending):
            continue
        if without and stem.endswith(without):
            continue
        key = same_name(stem.removesuffix(ending))
        path = folder / name
        if key in files:
            twice.append((files[key], path))
            continue
        files[key] = path
    if twice:
        findings.append(same_stem(twice))
    return files


def _common_ids(
    images: Mapping[str, Path], masks: Mapping[str, Path], mask_suffix: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The ids of images and of masks that share no name, by what their files have in common: an ending, or a beginning.

    Args:
        images: The images by name.
        masks: The masks by name.
        mask_suffix: The ending of the masks, if it is known; it is taken off already.
    """
    found: list[tuple[dict[str, str], dict[str, str]]] = []
    for part in (_ENDING, _BEGINNING):
        of_image = _without_common(images, part)
        of_mask = {key: key for key in masks} if mask_suffix else _without_common(masks, part)
        if set(of_image.values()) & set(of_mask.values()):
            return of_image, of_mask
        found.append((of_image, of_mask))
    return found[0]


_ENDING = re.compile(r"[_.-][A-Za-z]+$")
_BEGINNING = re.compile(r"(?<![^/])[A-Za-z]+[_.-](?=[^/]+$)")


def _without_common(keys: Iterable[str], part: re.Pattern[str]) -> dict[str, str]:
    """Name -> name without the beginning or ending that all have in common: letters, and `_`, `-` or `.`."""
    parts = {found.group() if (found := part.search(key)) else "" for key in keys}
    return {key: part.sub("", key) if len(parts) == 1 and "" not in parts else key for key in keys}


def _only_inside(files: Mapping[str, Path], folder: str) -> dict[str, Path]:
    """The files of a sub-folder, by their path below it; all files if there is none."""
    if not folder:
        return dict(files)
    prefix = f"{same_name(folder)}/"
    return {key.removeprefix(prefix): path for key, path in files.items() if key.startswith(prefix)}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def _but(folder: Path) -> str:
    """The files that a folder without pictures holds, as the end of a sentence."""
    files = [name for name in files_below(folder) if not is_image_name(name)]
    return f", but {_few(files)}" if files else ""


def _without_mask(
    known: Sequence[str], masks: Mapping[str, Path], folder: Path, may_lack_masks: bool
) -> list[Finding]:
    found = missing_files(known, known, masks, folder, "image-without-mask", "mask")
    if not may_lack_masks or not masks:
        return found
    return [replace(each, severity="warning", fix=_NOT_LABELLED) for each in found]


_NOT_LABELLED = (
    "They are left out, since the tool writes masks of annotated images alone. To use them, annotate them and export "
    "again."
)


def missing_files(
    ids: Sequence[str],
    candidates: Sequence[str],
    files: Mapping[str, Path],
    folder: Path,
    code: str,
    kind: str,
) -> list[Finding]:
    """The error that ids have no file; none if all have one.

    Args:
        ids: All ids.
        candidates: Those that need a file.
        files: The files by id.
        folder: Where they lie.
        code: Code of the finding.
        kind: What they are, in a word.
    """
    missing = [key for key in candidates if key not in files]
    if not missing:
        return []
    held = f" The folder holds no pictures{_but(folder)}." if not files else ""
    return [
        Finding.of(
            code,
            "error",
            f"{len(missing)} of {len(ids)} ids have no {kind} file in {folder}: {_few(missing)}.{held}",
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
