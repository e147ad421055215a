"""Masks that are one file per image: ids or colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vitseg.data.class_files import read_labels
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.pairs import list_pairs
from vitseg.data.splits import choose_split, find_splits
from vitseg.images.decode import decode_color_mask, decode_mask
from vitseg.types import Size


class IndexMasks:
    """Index masks: the value of a pixel is its id."""

    are_pictures = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        return decode_mask(self._paths[index])

    def files(self, index: int) -> tuple[Path, ...]:
        return (self._paths[index],)


class ColorMasks:
    """Colour masks: the raw id of a pixel is its colour, 0xRRGGBB."""

    are_pictures = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        return decode_color_mask(self._paths[index])

    def files(self, index: int) -> tuple[Path, ...]:
        return (self._paths[index],)


def open_mask_files(name: str, root: Path, split: str, colors: bool) -> SegmentationDataset:
    """Images and masks of the same name, with a class file (see `class_files`).

    Layouts: `images/` and `masks/` (or other usual names, see `pairs`) with split files, with a sub-folder per split,
    or within one folder per split. The mask id 255 is ignored, too, unless there is a class 255.

    Args:
        name: Name of the data set.
        root: Folder of the data set.
        split: Name of the split.
        colors: Whether the masks hold colours, of which the class file's palette says which class each is.

    Raises:
        DataError: A folder, the class file or the split is missing or malformed.
    """
    splits = find_splits(root)
    split = choose_split(split, tuple(splits), root)
    folders = splits[split]
    labels = read_labels(root, colors)
    pairs = list_pairs(folders)
    kind, masks = ("color", ColorMasks) if colors else ("index", IndexMasks)
    listed = f", ids of {folders.listed.name}" if folders.listed else ""
    source = f"{kind} masks in {folders.masks / folders.inside}, images in {folders.images / folders.inside}{listed}"
    return SegmentationDataset(
        name, split, labels, pairs.ids, pairs.images, masks(pairs.masks), source, pairs.findings
    )


def mask_file_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits of a folder of images and masks.

    Raises:
        DataError: The folder, or its images or masks, are missing or not clearly named.
    """
    return tuple(find_splits(root))
