"""Cityscapes, fine annotations: 19 classes, 2,975 training, 500 validation and 1,525 test images of 2048 x 1024.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; ids, names and
colours of its label definitions. A mask comes as label ids (0-33, as the download has them) or as train ids (0-18 and
255, as its conversion writes them); each has its own table, and both give the same classes.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.official.layout import (
    find_home,
    prepare_advice,
    require_splits,
    splits_by_folder,
)
from vitseg.data.official.published import Published
from vitseg.data.official.tables import read_table
from vitseg.data.pairs import list_pairs
from vitseg.data.splits import Folders
from vitseg.errors import DataError

_TABLES = {"labelTrainIds": "cityscapes_train_ids", "labelIds": "cityscapes_label_ids"}
_HINTS = {
    "labelTrainIds": "Train ids are 0-18 and 255. Are these label ids (0-33) under the name of train ids?",
    "labelIds": "Label ids are 0-33. Are these train ids (255 = ignored) under the name of label ids?",
}


class Cityscapes(Published):
    """Cityscapes, as leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip unpack.

    All masks of a split are of one kind: `*_gtFine_labelTrainIds.png` if every image has one, else
    `*_gtFine_labelIds.png`, else whichever more images have. `source` says which. The public masks of the test split
    are empty: all of their pixels are ignored. The root is the folder with `leftImg8bit/` and `gtFine/`, each with
    SPLIT/CITY/, or the one above it. Splits are "train", "val" and "test".
    """

    name = "cityscapes"
    summary = "Cityscapes, 19 classes"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: The folder is not in this layout, has no such split, or has polygons only.
        """
        split, folders = self.find_split(root, split)
        by_kind = {kind: list_pairs(folders, "_leftImg8bit", f"_gtFine_{kind}") for kind in _TABLES}
        kind = max(by_kind, key=lambda kind: len(by_kind[kind].ids))  # of equals the first
        if not by_kind[kind].ids and any(folders.masks.rglob("*_polygons.json")):
            raise DataError(
                f"{folders.masks} holds *_polygons.json, but no *_gtFine_labelIds.png or *_gtFine_labelTrainIds.png "
                f"for any image. {prepare_advice(self.name)}"
            )
        labels = read_table(_TABLES[kind], _HINTS[kind])
        return self.dataset(split, labels, folders, by_kind[kind], kind)

    def folders(self, root: Path) -> dict[str, Folders]:
        home = find_home(root, self.name, ("leftImg8bit", "gtFine"), ("cityscapes",))
        splits = splits_by_folder(home / "leftImg8bit", home / "gtFine", ("train", "val", "test"))
        expected = f"train/, val/ or test/, both in {home / 'leftImg8bit'} and in {home / 'gtFine'}"
        require_splits(splits, self.name, expected)
        return splits
