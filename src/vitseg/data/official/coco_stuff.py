"""COCO-Stuff: 171 classes (80 things, 91 stuff), as 10k (9,000 / 1,000 images) and as 164k (118,287 / 5,000 images).

Source: Caesar et al., "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; names and ids of its `labels.txt`,
whose ids go from 1 to 182. Eleven of these never occur and are no classes: 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and
91. The colours are generated, because the usual ones are only 162 different ones for 171 classes.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.official.layout import (
    dataset_of,
    find_home,
    pick_split,
    prepare_advice,
    require_splits,
    splits_by_folder,
)
from vitseg.data.official.tables import read_table
from vitseg.data.pairs import Folders, list_pairs
from vitseg.errors import DataError

_HINT_10K = (
    "The masks *_labelTrainIds.png hold 0 (unlabeled) and 1-171. Are these the ids 1-182 of the .mat files? "
    f"{prepare_advice('coco_stuff_10k')}"
)
_HINT_164K = (
    "The pixel maps hold 255 (unlabeled) and the ids of labels.txt less one, 0-181, eleven of which never occur. "
    "Are these maps shifted by one, or converted to 0-170?"
)


def open_coco_stuff_10k(root: Path, split: str) -> SegmentationDataset:
    """A split of COCO-Stuff-10k v1.1 as `vitseg data prepare` converts it; unlabelled pixels (id 0) are ignored.

    Args:
        root: Folder with `images/` and `annotations/`, each with `train2014/` and `test2014/`, or the one above it. A
            mask is `NAME_labelTrainIds.png`. Where `imageLists/train.txt` and `test.txt` are there, they list the ids.
        split: "train2014" or "test2014" ("train" and "test" will do).

    Raises:
        DataError: The folder is not in this layout, has no such split, or holds `.mat` files only.
    """
    split, folders = pick_split(_splits_10k(root), split, root)
    pairs = list_pairs(folders, mask_suffix="_labelTrainIds")
    if not pairs.ids and any(folders.masks.rglob("*.mat")):
        raise DataError(
            f"{folders.masks} holds .mat files, but no *_labelTrainIds.png for any image. "
            f"{prepare_advice('coco_stuff_10k')}"
        )
    labels = read_table("coco_stuff_10k", _HINT_10K)
    return dataset_of("coco_stuff_10k", split, labels, folders, pairs, "labelTrainIds")


def coco_stuff_10k_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(_splits_10k(root))


def open_coco_stuff_164k(root: Path, split: str) -> SegmentationDataset:
    """A split of COCO-Stuff on the images of COCO 2017, as stuffthingmaps_trainval2017.zip has it.

    Args:
        root: Folder with `images/` and `annotations/` (or `stuffthingmaps/`), each with `train2017/` and `val2017/`, or
            the one above it.
        split: "train2017" or "val2017" ("train" and "val" will do).

    Raises:
        DataError: The folder is not in this layout or has no such split.
    """
    split, folders = pick_split(_splits_164k(root), split, root)
    labels = read_table("coco_stuff_164k", _HINT_164K)
    return dataset_of("coco_stuff_164k", split, labels, folders, list_pairs(folders), "pixel map")


def coco_stuff_164k_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(_splits_164k(root))


def _splits_10k(root: Path) -> dict[str, Folders]:
    name, inner = "coco_stuff_10k", ("coco_stuff10k",)
    home = find_home(root, name, ("images", "annotations"), inner, ("annotations",), name)
    images, masks = home / "images", home / "annotations"
    splits = splits_by_folder(images, masks, ("train2014", "test2014"))
    expected = f"train2014/ or test2014/, both in {images} and in {masks}"
    unconverted = not splits and any(masks.rglob("*.mat"))
    require_splits(splits, name, expected, prepare_advice(name) if unconverted else "")
    for split, folders in splits.items():
        listed = home / "imageLists" / f"{split.removesuffix('2014')}.txt"
        if listed.is_file():
            splits[split] = folders._replace(listed=listed)
    return splits


def _splits_164k(root: Path) -> dict[str, Folders]:
    name, inner = "coco_stuff_164k", ("coco_stuff164k",)
    masks = "annotations"
    if any((root / place / "stuffthingmaps").is_dir() for place in ("", *inner)):
        masks = "stuffthingmaps"
    home = find_home(root, name, ("images", masks), inner)
    splits = splits_by_folder(home / "images", home / masks, ("train2017", "val2017"))
    expected = f"train2017/ or val2017/, both in {home / 'images'} and in {home / masks}"
    require_splits(splits, name, expected)
    return splits
