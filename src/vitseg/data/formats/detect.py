"""`folder:ROOT`: which of the formats a folder is in."""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.files import file_splits, open_index


def open_folder(root: Path, split: str) -> SegmentationDataset:
    """The split of a folder in whatever format it is found to be."""
    return open_index(root, split)


def folder_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits of a folder in whatever format it is found to be."""
    return file_splits(root)
