"""Masks that are one file per image: ids or colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import read_labels
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.tools import CVAT_MASK, find_tool
from vitseg.data.labels import LabelTable
from vitseg.data.pairs import list_pairs
from vitseg.data.splits import choose_split, find_splits, unread_of
from vitseg.errors import DataError
from vitseg.images.decode import decode_color_mask, decode_mask, read_header
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

    def own_turn(self, index: int) -> int:
        return read_header(self._paths[index]).orientation


class ColorMasks:
    """Colour masks: the raw id of a pixel is its colour, 0xRRGGBB."""

    are_pictures = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        return decode_color_mask(self._paths[index])

    def files(self, index: int) -> tuple[Path, ...]:
        return (self._paths[index],)

    def own_turn(self, index: int) -> int:
        return read_header(self._paths[index]).orientation


def open_mask_files(name: str, root: Path, split: str, colors: bool) -> SegmentationDataset:
    """Images and masks of the same name, with a class file (see `class_file`).

    Layouts: `images/` and `masks/` (or other usual names, see `pairs`) with split files, with a sub-folder per split,
    or within one folder per split. The mask id 255 is ignored, too, unless there is a class 255.

    Of CVAT's export, images without a mask are left out with a warning: they are not labelled yet.

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
    pairs = list_pairs(folders, may_lack_masks=find_tool(root) == CVAT_MASK)
    if find_class_file(root) is None and not pairs.masks:  # what is missing first
        raise DataError(" ".join(each.message for each in pairs.findings))
    labels = _with_rest(read_labels(root, colors), root) if colors else read_labels(root)
    kind, masks = ("color", ColorMasks) if colors else ("index", IndexMasks)
    listed = f", ids of {folders.listed.name}" if folders.listed else ""
    source = f"{kind} masks in {folders.masks / folders.inside}, images in {folders.images / folders.inside}{listed}"
    findings = (*pairs.findings, *unread_of(root, splits))
    return SegmentationDataset(
        name, split, labels, pairs.ids, pairs.images, masks(pairs.masks), source, findings
    )


def _with_rest(labels: LabelTable, root: Path) -> LabelTable:
    """The table of colours with what a tool's own colour map leaves unsaid.

    CVAT paints unlabelled pixels black and may keep VOC's border colour, whether or not its map lists them. In other
    class files, a colour that is missing is a mistake.
    """
    path = find_class_file(root)
    if path is None or path.name not in _MAPS_OF_TOOLS:
        return labels
    mapping, raw_names, classes = dict(labels.mapping), dict(labels.raw_names), labels.classes
    rest = labels.rest
    if _BORDER not in mapping:
        mapping[_BORDER], raw_names[_BORDER] = IGNORE_INDEX, "border"
    if _BLACK not in mapping:
        names = [name.lower().strip("_") for name in classes.names]
        if "background" not in names:
            classes = ClassTable(
                names=("background", *classes.names), palette=((0, 0, 0), *classes.palette)
            )
            mapping = {color: index + (index != IGNORE_INDEX) for color, index in mapping.items()}
            names = ["background"]
        rest = classes.names[names.index("background")]
        mapping[_BLACK], raw_names[_BLACK] = names.index("background"), "background"
    return replace(labels, classes=classes, mapping=mapping, raw_names=raw_names, rest=rest)


_MAPS_OF_TOOLS = ("labelmap.txt", "label_colors.txt")
_BLACK, _BORDER = 0x000000, 0xE0E0C0


def mask_file_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits of a folder of images and masks.

    Raises:
        DataError: The folder, or its images or masks, are missing or not clearly named.
    """
    return tuple(find_splits(root))
