"""The splits of a data set in plain files: its folders of images and masks, and the text files that list ids."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.data.finding import Finding
from vitseg.data.id_lists import (
    USUAL_SPLIT,
    IdIndex,
    index_of,
    read_ids,
    share_of_ids,
    split_lists,
    unread_lists,
)
from vitseg.data.listing import (
    files_below,
    image_names_below,
    sub_folders,
)
from vitseg.errors import DataError, first_names
from vitseg.images.suffixes import IMAGE_SUFFIXES, is_array_name, is_image_name

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "JPEGImages")
"""Names of folders of images, the usual one first."""

MASK_FOLDERS = (
    "masks", "mask", "gts", "gt", "annotations", "annotation", "labels", "label", "SegmentationClass",
    "SegmentationClassPNG",
)  # fmt: skip
"""Names of folders of masks, the usual one first."""

MASK_ENDING = re.compile(
    r"(?:[_.-](?:masks?|gt|ground[_-]?truth|labels?|lbl|lab|label_?(?:train_?)?ids|segmentations?|seg"
    r"|annotations?|anno|annot)|annot)$|_L$",
    re.IGNORECASE,
)
"""What the name of a mask, or of a folder of masks, has more than that of its image, where both lie side by side."""


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
        raise DataError(f"{root / missing} is not a folder. {_LAYOUT}{_lying_there(root)}")
    return _with_lists(root, _without_empty(nested))


_LAYOUT = "A data set folder holds images/, masks/ and classes.json."


def _lying_there(root: Path) -> str:
    """A sentence on the pictures of a folder that is in no known layout; "" if there is none."""
    pictures = [name for name in files_below(root) if is_image_name(name)]
    if not pictures:
        return ""
    stems = [os.path.splitext(name)[0] for name in pictures]
    twice = [name for name, stem in zip(pictures, stems, strict=True) if stems.count(stem) > 1]
    if twice:
        return (
            f" {first_names(twice)} have one stem: if one is the mask of the other, move the masks to masks/, or name "
            "them with _mask."
        )
    return f" It holds the pictures {first_names(pictures)}."


def _without_empty(splits: Mapping[str, Folders]) -> dict[str, Folders]:
    """The splits less those of which there are folders, but no file, as exports have them; all if all are empty."""
    kept = {
        name: each
        for name, each in splits.items()
        if files_below(each.images / each.inside) or files_below(each.masks / each.inside)
    }
    return kept or dict(splits)


def _of_pair(root: Path, images: Path, masks: Path) -> dict[str, Folders]:
    """The splits of `root/images` and `root/masks`."""
    listed = split_lists(root, [images])
    inside = set(sub_folders(images)) & set(sub_folders(masks))
    if listed or _holds_images(images):  # else a folder of any name is a split
        inside = {name for name in inside if name in listed or USUAL_SPLIT.fullmatch(name)}
    names = sorted({*listed, *inside})
    if not names:
        return {"all": Folders(images, masks, None, "")}
    found = {
        name: Folders(images, masks, listed.get(name), name if name in inside else "")
        for name in names
    }
    return found if listed else _without_empty(found)


def _holds_images(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(
        (is_image_name(entry.name) or is_array_name(entry.name)) and entry.is_file()
        for entry in os.scandir(folder)
    )


def _annotated_beside(root: Path, children: Sequence[str]) -> dict[str, Folders]:
    """Two folders per split, as CamVid has them: `train/` and `trainannot/`."""
    found: dict[str, Folders] = {}
    for folder in children:
        name = MASK_ENDING.sub("", folder)
        if name != folder and name in children:
            found.setdefault(name, Folders(root / name, root / folder, None, ""))
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
    endings = Counter(
        found.group()
        for stem in stems
        if (found := MASK_ENDING.search(stem)) and stem[: found.start()] in stems
    )
    for ending, paired in endings.most_common():
        masks = {stem for stem in stems if stem.endswith(ending)}
        if 2 * paired >= len(stems) - len(masks):
            return ending
    return ""


def _with_lists(root: Path, splits: Mapping[str, Folders]) -> dict[str, Folders]:
    """The splits with the text files of their names, and further ones that list images of one of their folders."""
    found = dict(splits)
    for name, path in split_lists(root, [folders.images for folders in splits.values()]).items():
        if name in splits:
            found[name] = splits[name]._replace(listed=path)
            continue
        best = max(splits.values(), key=lambda each: share_of_ids(path, index_of(each.images)))
        found[name] = best._replace(listed=path)
    if len(found) > 1 and "all" in splits:
        del found["all"]
    return found


def unread_of(root: Path, splits: Mapping[str, Folders]) -> list[Finding]:
    """The finding about text files of a folder that name images and are no lists of its splits."""
    folders = dict.fromkeys(each.images for each in splits.values())
    read = [each.listed for each in splits.values() if each.listed is not None]
    return unread_lists(root, list(folders), read)


def splits_of_images(
    root: Path, images: Mapping[str, Path], folders: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The splits of a folder whose images are known: text files of ids, and folders of a split's usual name; else all.

    Args:
        root: The folder.
        images: Images by id.
        folders: Id of every image that is used -> names of the folders in which it, or what is said about it, lies.
    """
    found: dict[str, list[str]] = {}
    ids = IdIndex(folders, root.name, files={key: images[key] for key in folders})
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
            if USUAL_SPLIT.fullmatch(name) and name not in listed:
                found.setdefault(name, []).append(key)
    return found or {"all": list(folders)}


def choose_split(split: str, known: Sequence[str], where: object) -> str:
    """The name of a split as the data set has it: `val` also stands for `validation` or `val2017` if there is only one.

    Raises:
        DataError: There is no such split.
    """
    if split in known:
        return split
    alike = [name for name in known if re.fullmatch(_ALIASES.get(split, "(?!)"), name, re.I)]
    if len(alike) == 1:
        return alike[0]
    message = f"{split!r} is not a split of {where}. Valid: {', '.join(sorted(known))}."
    if split in ("train", "val"):
        message += (
            " A text file of names (.txt) is one, too: `vitseg train NAME:ROOT --out RUN` makes both where there are "
            "none, RUN/plan/train.txt and RUN/plan/val.txt."
        )
    if isinstance(where, Path) and (where / f"{split}.txt").is_file():
        message += f" {where / f'{split}.txt'} is none, since most of its lines name no image."
    raise DataError(message)


def usual_split(split: str, known: Sequence[str]) -> str | None:
    """The data set's split of a usual name (`train`, `val`, `test`), or an alias of it; None: it has none."""
    try:
        return choose_split(split, known, "the data")
    except DataError:
        return None


_ALIASES = {"train": r"train(ing)?\d*", "val": r"val(id(ation)?)?\d*", "test": r"test(ing)?\d*"}


def _pair(root: Path) -> tuple[Path, Path] | None:
    images, masks = _child(root, IMAGE_FOLDERS), _child(root, MASK_FOLDERS)
    return None if images is None or masks is None else (images, masks)


def _child(root: Path, names: Sequence[str]) -> Path | None:
    """The folder of one of these names, in either case; of several that are not the usual one, the one with pictures.

    Raises:
        DataError: Several could be meant.
    """
    spelt = {name.lower(): name for name in reversed(sub_folders(root))} if root.is_dir() else {}
    spelt |= {name.lower(): name for name in names if (root / name).is_dir()}
    found = [root / spelt[name.lower()] for name in names if name.lower() in spelt]
    if found and found[0].name.lower() == names[0].lower():
        return found[0]
    if len(found) > 1:
        found = [path for path in found if image_names_below(path)] or found
    if len(found) > 1:
        raise DataError(
            f"{root} has several folders that could be meant: {', '.join(path.name for path in found)}. Rename the "
            f"one that is to be used to {names[0]}."
        )
    return found[0] if found else None
