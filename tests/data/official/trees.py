"""Small trees in the layouts of the official downloads, and by hand which raw id is which class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Tree(NamedTuple):
    """One data set in its official layout."""

    inner: str  # the folder that the download unpacks to, below the one that a user may name
    image: str
    mask: str
    split: str
    alias: str  # what else the split may be called
    ten: dict[int, str]
    ignored: tuple[int, ...] = ()
    listed: str = ""  # the text file that lists the ids
    table: str = ""  # where it is not the name of the data set


TREES = {
    "ade20k": Tree(
        "ADEChallengeData2016",
        "images/training/ADE_train_00000001.jpg",
        "annotations/training/ADE_train_00000001.png",
        "training",
        "train",
        {
            1: "wall", 2: "building", 3: "sky", 7: "road", 8: "bed", 13: "person", 21: "car", 65: "coffee table",
            137: "traffic light", 150: "flag",
        },
        ignored=(0,),
    ),
    "cityscapes": Tree(
        "cityscapes",
        "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png",
        "gtFine/val/ulm/ulm_000000_000019_gtFine_labelTrainIds.png",
        "val",
        "val",
        {
            0: "road", 1: "sidewalk", 2: "building", 5: "pole", 6: "traffic light", 8: "vegetation", 11: "person",
            13: "car", 16: "train", 18: "bicycle",
        },
        ignored=(255,),
        table="cityscapes_train_ids",
    ),
    "cityscapes with label ids": Tree(
        "cityscapes",
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
        "train",
        "train",
        {
            7: "road", 8: "sidewalk", 11: "building", 17: "pole", 19: "traffic light", 21: "vegetation", 24: "person",
            26: "car", 31: "train", 33: "bicycle",
        },
        ignored=(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30),
        table="cityscapes_label_ids",
    ),
    "pascal_context_59": Tree(
        "VOCdevkit/VOC2010",
        "JPEGImages/2008_000002.jpg",
        "SegmentationClassContext/2008_000002.png",
        "train",
        "train",
        {
            1: "aeroplane", 2: "bag", 3: "bed", 6: "bicycle", 7: "bird", 14: "car", 37: "person", 53: "tree",
            55: "tvmonitor", 59: "wood",
        },
        ignored=(0,),
        listed="ImageSets/SegmentationContext/train.txt",
    ),
    "pascal_context_60": Tree(
        "VOC2010",
        "JPEGImages/2008_000002.jpg",
        "SegmentationClassContext/2008_000002.png",
        "val",
        "val",
        {
            0: "background", 1: "aeroplane", 2: "bag", 3: "bed", 6: "bicycle", 14: "car", 37: "person", 47: "sky",
            50: "table", 59: "wood",
        },
        listed="ImageSets/SegmentationContext/val.txt",
    ),
    "coco_stuff_10k": Tree(
        "coco_stuff10k",
        "images/test2014/COCO_train2014_000000000077.jpg",
        "annotations/test2014/COCO_train2014_000000000077_labelTrainIds.png",
        "test2014",
        "test",
        {
            1: "person", 2: "bicycle", 11: "fire hydrant", 12: "stop sign", 25: "backpack", 80: "toothbrush",
            81: "banner", 137: "river", 146: "sky-other", 171: "wood",
        },
        ignored=(0,),
        listed="imageLists/test.txt",
    ),
    "coco_stuff_164k": Tree(
        "coco_stuff164k",
        "images/val2017/000000000139.jpg",
        "annotations/val2017/000000000139.png",
        "val2017",
        "val",
        {
            0: "person", 1: "bicycle", 10: "fire hydrant", 12: "stop sign", 26: "backpack", 89: "toothbrush",
            91: "banner", 147: "river", 156: "sky-other", 181: "wood",
        },
        ignored=(255,),
    ),
    "camvid": Tree(
        "CamVid",
        "test/0001TP_008550.png",
        "testannot/0001TP_008550.png",
        "test",
        "test",
        {
            0: "sky", 1: "building", 2: "pole", 3: "road", 4: "pavement", 5: "tree", 7: "fence", 8: "car",
            9: "pedestrian", 10: "bicyclist",
        },
        ignored=(11,),
    ),
    "voc2012": Tree(
        "VOCdevkit/VOC2012",
        "JPEGImages/2007_000032.jpg",
        "SegmentationClass/2007_000032.png",
        "trainval",
        "trainval",
        {
            0: "background", 1: "aeroplane", 2: "bicycle", 5: "bottle", 8: "cat", 11: "diningtable", 15: "person",
            16: "pottedplant", 19: "train", 20: "tvmonitor",
        },
        ignored=(255,),
        listed="ImageSets/Segmentation/trainval.txt",
    ),
}  # fmt: skip


def write_tree(home: Path, tree: Tree) -> None:
    """One image whose mask holds the ten ids, then those that are ignored; in the data set's own folder `home`."""
    write_image(home / tree.image, len(tree.ten) + len(tree.ignored))
    write_mask(home / tree.mask, [*tree.ten, *tree.ignored])
    if tree.listed:
        write_list(home / tree.listed, [Path(tree.image).stem])


def write_image(path: Path, width: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 1), (90, 120, 30)).save(path)


def write_mask(path: Path, ids: Sequence[int]) -> None:
    """A mask of one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([ids], np.uint8)).save(path)


def write_list(path: Path, ids: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\n" for key in ids))
