"""PASCAL-Context: 59 classes, or 60 with the background, 4,998 training and 5,105 validation images of VOC 2010.

Source: Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the Wild", CVPR 2014.
The ids 0-59 of the masks are the 60 ids in use of the 459, in ascending order, that is in alphabetical order after
the background: 1 aeroplane, 2 bag, 3 bed. Some toolkits of the 0.x time list the names in another order, that of VOC
first (aeroplane, bicycle, bird, ...), beside the same masks: the mIoU of their checkpoints is right, but the names of
their classes are not. The colours are the first 60 of ADE20K, as usual; "bicycle" and
"snow" share one.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.official.layout import (
    dataset_of,
    find_home,
    pick_split,
    require_splits,
    splits_by_list,
)
from vitseg.data.official.tables import read_table
from vitseg.data.pairs import Folders, list_pairs

_HINT = "The masks hold 0 (background) and 1-59. Are these the 459 classes of the full annotation?"
_MASKS = "SegmentationClassContext"
_LISTS = "ImageSets/SegmentationContext"


def open_pascal_context_59(root: Path, split: str) -> SegmentationDataset:
    """A split of PASCAL-Context with 59 classes; the background (id 0) is ignored.

    Args:
        root: Folder with `JPEGImages/`, `SegmentationClassContext/` and `ImageSets/SegmentationContext/`, the VOCdevkit
            folder above it, or the one above that.
        split: "train" or "val".

    Raises:
        DataError: The folder is not in this layout or has no such split.
    """
    return _open("pascal_context_59", root, split)


def open_pascal_context_60(root: Path, split: str) -> SegmentationDataset:
    """The same masks with the background as class 0; arguments and errors as for `open_pascal_context_59`."""
    return _open("pascal_context_60", root, split)


def pascal_context_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(_splits(root))


def _open(name: str, root: Path, split: str) -> SegmentationDataset:
    split, folders = pick_split(_splits(root), split, root)
    return dataset_of(name, split, read_table(name, _HINT), folders, list_pairs(folders))


def _splits(root: Path) -> dict[str, Folders]:
    name = "pascal_context"
    needed = ("JPEGImages", _MASKS, _LISTS)
    inner = ("VOC2010", "VOCdevkit/VOC2010")
    home = find_home(root, name, needed, inner, converted=(_MASKS, _LISTS), prepared_as=name)
    lists = home / _LISTS
    splits = splits_by_list(home / "JPEGImages", home / _MASKS, lists, ("train", "val"))
    require_splits(splits, name, f"train.txt or val.txt in {lists}")
    return splits
