"""Index masks: one file per image, the value of a pixel is its id."""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.formats.mask_files import mask_file_splits, open_mask_files
from vitseg.data.formats.mask_kind import find_mask_kind
from vitseg.errors import DataError


class Index(DataFormat):
    """Images and index masks of the same name; layouts as for `open_mask_files`."""

    name = "index"
    summary = "your images and index masks"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        return open_mask_files(self.name, root, split, colors=False)

    def splits(self, root: Path) -> tuple[str, ...]:
        return mask_file_splits(root)

    def looks_like(self, root: Path) -> str | None:
        kind = find_mask_kind(root)
        if kind is None or kind.name != self.name:
            return None
        if kind.fault:
            raise DataError(kind.fault)
        return kind.evidence
