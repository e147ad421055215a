"""ADE20K in the SceneParse150 form (ADEChallengeData2016): 150 classes, 20,210 training and 2,000 validation images.

Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; names and ids of `objectInfo150.txt`, of each
entry the first name ("television receiver" as usual). The colours are the 150 of the authors' code, of which
"road" and "skyscraper" share one.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.official.layout import (
    dataset_of,
    find_home,
    pick_split,
    require_splits,
    splits_by_folder,
)
from vitseg.data.official.tables import read_table
from vitseg.data.pairs import Folders, list_pairs

_HINT = (
    "The official annotations hold 0 (other) and 1-150 (wall is 1). Were these maps reduced already (wall is 0, 255 is "
    "ignored)? Then take the original ones, or open them as index:FOLDER with a class file."
)


def open_ade20k(root: Path, split: str) -> SegmentationDataset:
    """A split of ADEChallengeData2016, as the zip unpacks; pixels of the id 0 (other) are ignored.

    Args:
        root: Folder with `images/` and `annotations/`, each with `training/` and `validation/`, or the one above it.
        split: "training" or "validation" ("train" and "val" will do).

    Raises:
        DataError: The folder is not in this layout or has no such split.
    """
    split, folders = pick_split(_splits(root), split, root)
    labels = read_table("ade20k", _HINT)
    return dataset_of("ade20k", split, labels, folders, list_pairs(folders))


def ade20k_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(_splits(root))


def _splits(root: Path) -> dict[str, Folders]:
    home = find_home(root, "ade20k", ("images", "annotations"), ("ADEChallengeData2016",))
    splits = splits_by_folder(home / "images", home / "annotations", ("training", "validation"))
    expected = f"training/ or validation/, both in {home / 'images'} and in {home / 'annotations'}"
    require_splits(splits, "ade20k", expected)
    return splits
