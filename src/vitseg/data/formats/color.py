"""Colour masks: one file per image, the class file's palette says which colour is which class."""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.formats.mask_files import mask_file_splits, open_mask_files
from vitseg.data.formats.mask_kind import find_mask_kind


class Color(DataFormat):
    """Images and colour masks of the same name; layouts as for `open_mask_files`."""

    name = "color"
    summary = "your images and colour masks"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        return open_mask_files(self.name, root, split, colors=True)

    def splits(self, root: Path) -> tuple[str, ...]:
        return mask_file_splits(root)

    def looks_like(self, root: Path) -> str | None:
        kind = find_mask_kind(root)
        return kind.evidence if kind is not None and kind.name == self.name else None
