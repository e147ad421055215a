"""COCO-Stuff: 171 classes (80 things, 91 stuff), as 10k (9,000 / 1,000 images) and as 164k (118,287 / 5,000 images).

Source: Caesar et al., "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; names and ids of its `labels.txt`,
whose ids go from 1 to 182. Eleven of these never occur and are no classes: 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and
91. The colours are generated, because the usual ones are only 162 different ones for 171 classes.
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


class CocoStuff10k(Published):
    """COCO-Stuff-10k v1.1 as `vitseg data prepare` converts it; unlabelled pixels (id 0) are ignored.

    The root is the folder with `images/` and `annotations/`, each with `train2014/` and `test2014/`, or the one above
    it. A mask is `NAME_labelTrainIds.png`. Where `imageLists/train.txt` and `test.txt` are there, they list the ids.
    "train" and "test" stand for the two splits, too.
    """

    name = "coco_stuff_10k"
    summary = "COCO-Stuff-10k, 171 classes"
    hint = (
        "The masks *_labelTrainIds.png hold 0 (unlabeled) and 1-171. Are these the ids 1-182 of the .mat files? "
        f"{prepare_advice('coco_stuff_10k')}"
    )
    masks_are = "labelTrainIds"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: The folder is not in this layout, has no such split, or holds `.mat` files only.
        """
        split, folders = self.find_split(root, split)
        pairs = list_pairs(folders, mask_suffix="_labelTrainIds")
        if not pairs.ids and any(folders.masks.rglob("*.mat")):
            raise DataError(
                f"{folders.masks} holds .mat files, but no *_labelTrainIds.png for any image. "
                f"{prepare_advice(self.name)}"
            )
        return self.dataset(split, read_table(self.name, self.hint), folders, pairs)

    def folders(self, root: Path) -> dict[str, Folders]:
        needed, inner = ("images", "annotations"), ("coco_stuff10k",)
        home = find_home(root, self.name, needed, inner, ("annotations",), self.name)
        images, masks = home / "images", home / "annotations"
        splits = splits_by_folder(images, masks, ("train2014", "test2014"))
        expected = f"train2014/ or test2014/, both in {images} and in {masks}"
        unconverted = not splits and any(masks.rglob("*.mat"))
        require_splits(
            splits, self.name, expected, prepare_advice(self.name) if unconverted else ""
        )
        for split, folders in splits.items():
            listed = home / "imageLists" / f"{split.removesuffix('2014')}.txt"
            if listed.is_file():
                splits[split] = folders._replace(listed=listed)
        return splits


class CocoStuff164k(Published):
    """COCO-Stuff on the images of COCO 2017, as stuffthingmaps_trainval2017.zip has it.

    The root is the folder with `images/` and `annotations/` (or `stuffthingmaps/`), each with `train2017/` and
    `val2017/`, or the one above it. "train" and "val" stand for the two splits, too.
    """

    name = "coco_stuff_164k"
    summary = "COCO-Stuff on COCO 2017, 171 classes"
    hint = (
        "The pixel maps hold 255 (unlabeled) and the ids of labels.txt less one, 0-181, eleven of which never occur. "
        "Are these maps shifted by one, or converted to 0-170?"
    )
    masks_are = "pixel map"

    def folders(self, root: Path) -> dict[str, Folders]:
        inner = ("coco_stuff164k",)
        masks = "annotations"
        if any((root / place / "stuffthingmaps").is_dir() for place in ("", *inner)):
            masks = "stuffthingmaps"
        home = find_home(root, self.name, ("images", masks), inner)
        splits = splits_by_folder(home / "images", home / masks, ("train2017", "val2017"))
        expected = f"train2017/ or val2017/, both in {home / 'images'} and in {home / masks}"
        require_splits(splits, self.name, expected)
        return splits
