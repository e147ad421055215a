"""Where a published data set lies below the folder that a user names, and which of its splits are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vitseg.data.splits import Folders
from vitseg.errors import DataError

_MAX_NAMED = 8


def find_home(
    root: Path,
    name: str,
    needed: Sequence[str],
    inner: Sequence[str] = (),
    converted: Sequence[str] = (),
    prepared_as: str = "",
) -> Path:
    """The folder that holds the sub-folders of a data set: the one that the user names, or a usual one inside it.

    Args:
        root: The folder that the user names.
        name: Name of the data set.
        needed: Sub-folders that it must hold.
        inner: Folders below `root` in which the sub-folders are looked for, too ("VOCdevkit/VOC2012").
        converted: Sub-folders of `needed` that no download holds, but `vitseg data prepare` writes.
        prepared_as: Name of the data set in that command.

    Raises:
        DataError: None of these places holds all that is needed.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {name} needs one that holds {_listed(needed)}.")
    places = [root, *(root / folder for folder in inner)]
    missing = {place: [f for f in needed if not (place / f).is_dir()] for place in places}
    home = min(places, key=lambda place: len(missing[place]))
    lacking = missing[home]
    if not lacking:
        return home
    message = (
        f"{home} is not in the layout of {name}: expected are the folders {_listed(needed)}, but "
        f"{_listed(lacking)} {'is' if len(lacking) == 1 else 'are'} missing. "
        f"There: {_listed(sub_folders(home)) or 'no folder'}."
    )
    if set(lacking) <= set(converted):
        message += f" {prepare_advice(prepared_as)}"
    elif inner:
        message += (
            f" They may also lie in {' or '.join(f'{folder}/' for folder in inner)} below it."
        )
    raise DataError(message)


def splits_by_folder(images: Path, masks: Path, names: Sequence[str]) -> dict[str, Folders]:
    """The splits of which `images/NAME` and `masks/NAME` are there."""
    return {
        name: Folders(images / name, masks / name, None, "")
        for name in names
        if (images / name).is_dir() and (masks / name).is_dir()
    }


def splits_by_list(
    images: Path, masks: Path, lists: Path, names: Sequence[str]
) -> dict[str, Folders]:
    """The splits whose ids a text file `lists/NAME.txt` holds."""
    return {
        name: Folders(images, masks, lists / f"{name}.txt", "")
        for name in names
        if (lists / f"{name}.txt").is_file()
    }


def require_splits(
    splits: Mapping[str, Folders], name: str, expected: str, advice: str = ""
) -> None:
    """Refuse a data set without any split.

    Args:
        splits: The splits that were found.
        name: Name of the data set.
        expected: Names of the missing files or folders, in words.
        advice: Further advice, a whole sentence or nothing.

    Raises:
        DataError: There are none.
    """
    if not splits:
        raise DataError(f"{name} has no split here: expected {expected}. {advice}".rstrip())


def prepare_advice(name: str) -> str:
    """The sentence that names the command which converts a download."""
    return (
        f"The download has to be converted once: vitseg data prepare {name} --source DIR --out DIR."
    )


def sub_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _listed(folders: Sequence[str]) -> str:
    shown = ", ".join(f"{folder}/" for folder in folders[:_MAX_NAMED])
    return f"{shown}, ..." if len(folders) > _MAX_NAMED else shown
