"""CamVid: 701 street scenes of 11 classes, in the SegNet split (train 367, val 101, test 233).

Source: Brostow et al., "Semantic Object Classes in Video: A High-Definition Ground Truth Database", Pattern Recognition
Letters 2009; classes and split of Badrinarayanan et al., "SegNet", TPAMI 2017.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.mask_files import mask_file_splits, open_mask_files
from vitseg.data.official.published import Published
from vitseg.data.official.tables import read_table
from vitseg.data.splits import Folders
from vitseg.errors import DataError

VOID_ID = 11


class CamVid(Published):
    """CamVid in one of its two usual layouts; pixels of the id 11 (void) are ignored.

    The root is a folder with `train/` and `trainannot/`, `val/` and `valannot/`, `test/` and `testannot/`, as the
    SegNet tutorial has it, or the one above it; or a folder with `images/`, `masks/`, `classes.json` and `train.txt`,
    `val.txt`, `test.txt`, whose classes are those of CamVid.
    """

    name = "camvid"
    summary = "CamVid, 11 classes"
    hint = "CamVid masks hold 0-10 and 11 (void). Are these the 32 classes of the original release?"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: The folder is in neither layout, has no such split, or its classes are not CamVid's.
        """
        if self.folders(root):
            return super().open(root, split)
        self.splits(root)  # its error names both layouts
        labels = read_table(self.name, self.hint)
        dataset = open_mask_files(self.name, root, split, colors=False)
        if dataset.classes.names != labels.classes.names:
            raise DataError(
                f"{root} has the classes {', '.join(dataset.classes.names)}, but camvid has "
                f"{', '.join(labels.classes.names)}. For another class list use folder:{root}."
            )
        if dataset.label_mapping.get(VOID_ID) != IGNORE_INDEX:
            raise DataError(
                f"{root} does not ignore the id {VOID_ID} (void): set ignore_index to {VOID_ID} in "
                "classes.json."
            )
        return dataset

    def splits(self, root: Path) -> tuple[str, ...]:
        """Names of the splits that are there.

        Raises:
            DataError: The folder is in neither layout.
        """
        splits = self.folders(root)
        if splits:
            return tuple(splits)
        try:
            return mask_file_splits(root)
        except DataError as error:
            tutorial = (
                "camvid is also read as the SegNet tutorial has it: train/ and trainannot/, ..."
            )
            raise DataError(f"{error} {tutorial}") from error

    def folders(self, root: Path) -> dict[str, Folders]:
        """The splits in the layout of the SegNet tutorial; none if the folder is in the other."""
        home = root / "CamVid" if (root / "CamVid").is_dir() else root
        return {
            name: Folders(home / name, home / f"{name}annot", None, "")
            for name in ("train", "val", "test")
            if (home / name).is_dir() and (home / f"{name}annot").is_dir()
        }
