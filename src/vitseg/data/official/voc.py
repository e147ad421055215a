"""Pascal VOC 2012, segmentation: background and 20 classes, 1,464 training and 1,449 validation images.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; names, ids and the
colour map of its development kit. The split `trainaug` (10,582 images) adds the masks of Hariharan et al., "Semantic
Contours from Inverse Detectors", ICCV 2011.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.official.layout import find_home, require_splits, splits_by_list
from vitseg.data.official.published import Published
from vitseg.data.splits import Folders

_LISTS = "ImageSets/Segmentation"


class Voc2012(Published):
    """VOC 2012, as its tar file unpacks; the border between objects (255) is ignored.

    The root is the folder with `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/`, the VOCdevkit folder
    above it, or the one above that. Splits are "train", "val", "trainval"; and "trainaug" where there are
    `ImageSets/Segmentation/trainaug.txt` and `SegmentationClassAug/`, which must hold the masks of all ids of the list.
    """

    name = "voc2012"
    summary = "Pascal VOC 2012, 21 classes"
    hint = (
        "VOC masks hold 0 (background), 1-20 and 255 (border). Was their palette lost when they were saved as grey or "
        "RGB? Then take the original files."
    )

    def folders(self, root: Path) -> dict[str, Folders]:
        needed = ("JPEGImages", "SegmentationClass", _LISTS)
        home = find_home(root, self.name, needed, ("VOC2012", "VOCdevkit/VOC2012"))
        images, lists = home / "JPEGImages", home / _LISTS
        names = ("train", "val", "trainval")
        splits = splits_by_list(images, home / "SegmentationClass", lists, names)
        augmented = home / "SegmentationClassAug"
        if augmented.is_dir():
            splits |= splits_by_list(images, augmented, lists, ("trainaug",))
        require_splits(splits, self.name, f"train.txt, val.txt or trainval.txt in {lists}")
        return splits
