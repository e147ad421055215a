"""What the published data sets have in common: index masks, a class table, and splits in known folders."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.formats.mask_files import IndexMasks
from vitseg.data.labels import LabelTable
from vitseg.data.official.tables import read_table
from vitseg.data.pairs import Pairs, list_pairs
from vitseg.data.splits import Folders, choose_split


class Published(DataFormat):
    """A published data set, in the layout that its official download unpacks to; it is always named, never guessed.

    Attributes:
        hint: Advice for the error about an id that the class table lacks.
        masks_are: Kind of its masks in words, for `source`.
    """

    hint: str = LabelTable.hint
    masks_are = "index"

    @abstractmethod
    def folders(self, root: Path) -> dict[str, Folders]:
        """Where the images and masks of each split are.

        Raises:
            DataError: The folder is not in this layout, or has no split at all.
        """

    def open(self, root: Path, split: str) -> SegmentationDataset:
        split, folders = self.find_split(root, split)
        labels = read_table(self.name, self.hint)
        return self.dataset(split, labels, folders, list_pairs(folders))

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(self.folders(root))

    def chosen_classes(self, labels: LabelTable, root: Path) -> LabelTable:
        """Its own: a score on a published data set is of these, whatever lies beside it."""
        return labels

    def find_split(self, root: Path, split: str) -> tuple[str, Folders]:
        """The split that is meant, by its own name or an alias ("val" for "validation"), and where it is.

        Raises:
            DataError: There is no such split, or as for `folders`.
        """
        known = self.folders(root)
        name = choose_split(split, tuple(known), root)
        return name, known[name]

    def dataset(
        self,
        split: str,
        labels: LabelTable,
        folders: Folders,
        pairs: Pairs,
        masks_are: str | None = None,
    ) -> SegmentationDataset:
        """The data set of these images and index masks.

        Args:
            split: Name of the split.
            labels: The class table.
            folders: Folders of the images and masks.
            pairs: The images and masks.
            masks_are: Kind of the masks of this split, if it is not that of the data set.
        """
        ids = f", ids of {folders.listed}" if folders.listed else ""
        source = f"{masks_are or self.masks_are} masks in {folders.masks}, images in {folders.images}{ids}"
        masks = IndexMasks(pairs.masks)
        return SegmentationDataset(
            self.name, split, labels, pairs.ids, pairs.images, masks, source, pairs.findings
        )
