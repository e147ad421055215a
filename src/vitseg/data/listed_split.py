"""A split that a text file names: ids of images of a data set that has no such split itself.

The first line may say which split of the data set they are of: `# images of the split all`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.id_lists import IdIndex
from vitseg.data.listing import read_lines
from vitseg.data.picked import picked
from vitseg.errors import DataError, first_names
from vitseg.files import write_whole

_OF_SPLIT = re.compile(r"#\s*images of the split (\S.*)")

_UNPAIRED = ("image-without-mask", "mask-without-image", "id-without-image")
"""Findings about files that a list has left out."""


def is_list(split: str) -> bool:
    """Whether the name of a split is that of such a file."""
    return split.endswith(".txt")


def write_list(path: Path, split: str, ids: Sequence[str]) -> None:
    """Write such a file.

    Args:
        path: The file.
        split: The data set's split that the images are of.
        ids: Their ids.
    """
    write_whole(path, "\n".join([f"# images of the split {split}", *ids]) + "\n")


def open_list(
    path: Path, splits: Sequence[str], open_split: Callable[[str], SegmentationDataset]
) -> SegmentationDataset:
    """The images that a text file names, as a split of the name of that file.

    Args:
        path: The file.
        splits: The data set's own splits.
        open_split: Opens one of these.

    Raises:
        DataError: The file is not there, is empty, names images that are not there, or it is not clear of which split
            they are.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist: give the name of a split ({', '.join(splits)}), or a text file (.txt) of ids."
        )
    lines = read_lines(path)
    stated = [match[1] for line in lines if (match := _OF_SPLIT.fullmatch(line))]
    ids = [line for line in lines if not _OF_SPLIT.fullmatch(line)]
    if not ids:
        raise DataError(f"{path} lists no ids: write one a line.")
    missing: list[str] = []
    found: list[SegmentationDataset] = []
    known: list[str] = []
    for name in stated[:1] or splits:
        dataset = open_split(name)
        places, lacking = _places(dataset, ids)
        if places and not lacking:
            found.append(picked(dataset, places))
        missing = lacking if not missing or len(lacking) < len(missing) else missing
        known += dataset.ids[:1]
    if not found and not missing:
        raise DataError(f"{path} lists no ids, but comments alone: write one id a line.")
    if not found:
        raise DataError(
            f"{path} names images that the data set does not have: {first_names(missing)}; it has {first_names(known)} "
            "and so on. Give the data set that the list was made for, or write the names that it has."
        )
    if len(found) > 1:
        names = " and ".join(dataset.split for dataset in found)
        raise DataError(
            f"the images of {path} may be those of {names}: say which in its first line, as in "
            f"'# images of the split {found[0].split}'."
        )
    (dataset,) = found
    kept = tuple(each for each in dataset.findings if each.code not in _UNPAIRED)
    return replace(dataset, split=path.stem, findings=kept)


def _places(dataset: SegmentationDataset, lines: Sequence[str]) -> tuple[list[int], list[str]]:
    """Where in a split the images are that lines name, each once, and the lines that name none and are no comments."""
    index_of = {each: index for index, each in enumerate(dataset.ids)}
    spelt = IdIndex(dataset.ids, _folder(dataset), files=_files(dataset))
    places: dict[int, None] = {}
    lacking: list[str] = []
    for line in lines:
        key = line if line in index_of else spelt.find(line)
        if key is not None:
            places[index_of[key]] = None
        elif line[0] != "#":
            lacking.append(line)
    return list(places), lacking


def _files(dataset: SegmentationDataset) -> dict[str, Path]:
    """The image files by id; none where images are no files."""
    if dataset.in_memory or not len(dataset) or not isinstance(dataset.images[0], Path):
        return {}
    files = zip(dataset.ids, dataset.images, strict=True)
    return {key: path for key, path in files if isinstance(path, Path)}


def _folder(dataset: SegmentationDataset) -> str:
    """Name of the folder that ids are paths below; "" where images are no files."""
    if dataset.in_memory or not len(dataset) or not isinstance(dataset.images[0], Path):
        return ""
    depth = dataset.ids[0].count("/")
    folders = list(dataset.images[0].parents)
    return folders[depth].name if depth < len(folders) else ""
