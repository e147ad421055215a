"""Pascal VOC 2012, segmentation: background and 20 classes, 1,464 training and 1,449 validation images.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; names, ids and the
colour map of its development kit. The split `trainaug` (10,582 images) adds the masks of Hariharan et al., "Semantic
Contours from Inverse Detectors", ICCV 2011.
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

_HINT = (
    "VOC masks hold 0 (background), 1-20 and 255 (border). Was their palette lost when they were saved as grey or RGB? "
    "Then take the original files."
)
_LISTS = "ImageSets/Segmentation"


def open_voc2012(root: Path, split: str) -> SegmentationDataset:
    """A split of VOC 2012, as its tar file unpacks; the border between objects (255) is ignored.

    Args:
        root: Folder with `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/`, the VOCdevkit folder above
            it, or the one above that.
        split: "train", "val", "trainval"; or "trainaug" where there are `ImageSets/Segmentation/trainaug.txt` and
            `SegmentationClassAug/`, which must hold the masks of all ids of the list.

    Raises:
        DataError: The folder is not in this layout or has no such split.
    """
    split, folders = pick_split(_splits(root), split, root)
    labels = read_table("voc2012", _HINT)
    return dataset_of("voc2012", split, labels, folders, list_pairs(folders))


def voc2012_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(_splits(root))


def _splits(root: Path) -> dict[str, Folders]:
    needed = ("JPEGImages", "SegmentationClass", _LISTS)
    home = find_home(root, "voc2012", needed, ("VOC2012", "VOCdevkit/VOC2012"))
    images, lists = home / "JPEGImages", home / _LISTS
    names = ("train", "val", "trainval")
    splits = splits_by_list(images, home / "SegmentationClass", lists, names)
    augmented = home / "SegmentationClassAug"
    if augmented.is_dir():
        splits |= splits_by_list(images, augmented, lists, ("trainaug",))
    require_splits(splits, "voc2012", f"train.txt, val.txt or trainval.txt in {lists}")
    return splits
