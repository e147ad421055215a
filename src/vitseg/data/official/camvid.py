"""CamVid: 701 street scenes of 11 classes, in the SegNet split (train 367, val 101, test 233)."""

from __future__ import annotations

from pathlib import Path

from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.files import file_splits, open_index
from vitseg.errors import DataError

CLASS_NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip
VOID_ID = 11


def open_camvid(root: Path, split: str) -> SegmentationDataset:
    """A folder data set whose classes are those of CamVid; pixels of the id 11 (void) are ignored.

    Args:
        root: Folder with `images/`, `masks/`, `classes.json` and `train.txt`, `val.txt`, `test.txt`.
        split: "train", "val" or "test".

    Raises:
        DataError: As for `open_index`, or the classes are not CamVid's.
    """
    dataset = open_index(root, split)
    if dataset.classes.names != CLASS_NAMES:
        raise DataError(
            f"{root} has the classes {', '.join(dataset.classes.names)}, but camvid has "
            f"{', '.join(CLASS_NAMES)}. For another class list use folder:{root}."
        )
    if dataset.label_mapping.get(VOID_ID) != IGNORE_INDEX:
        raise DataError(
            f"{root} does not ignore the id {VOID_ID} (void): set ignore_index to {VOID_ID} in "
            "classes.json."
        )
    return dataset


camvid_splits = file_splits
