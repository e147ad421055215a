"""PASCAL-Context: 59 classes, or 60 with the background, 4,998 training and 5,105 validation images of VOC 2010.

Source: Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the Wild", CVPR 2014.
The ids 0-59 of the masks are the 60 ids in use of the 459, in ascending order, that is in alphabetical order after
the background: 1 aeroplane, 2 bag, 3 bed. Some toolkits of the 0.x time list the names in another order, that of VOC
first (aeroplane, bicycle, bird, ...), beside the same masks: the mIoU of their checkpoints is right, but the names of
their classes are not. The colours are the first 60 of ADE20K, as usual; "bicycle" and
"snow" share one.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.official.layout import find_home, require_splits, splits_by_list
from vitseg.data.official.published import Published
from vitseg.data.splits import Folders

_MASKS = "SegmentationClassContext"
_LISTS = "ImageSets/SegmentationContext"
_PREPARED_AS = "pascal_context"


class PascalContext59(Published):
    """PASCAL-Context with 59 classes; the background (id 0) is ignored.

    The root is the folder with `JPEGImages/`, `SegmentationClassContext/` and `ImageSets/SegmentationContext/`, the
    VOCdevkit folder above it, or the one above that. Splits are "train" and "val".
    """

    name = "pascal_context_59"
    summary = "PASCAL-Context without background, 59 classes"
    hint = (
        "The masks hold 0 (background) and 1-59. Are these the 459 classes of the full annotation?"
    )

    def folders(self, root: Path) -> dict[str, Folders]:
        needed = ("JPEGImages", _MASKS, _LISTS)
        inner = ("VOC2010", "VOCdevkit/VOC2010")
        home = find_home(root, _PREPARED_AS, needed, inner, (_MASKS, _LISTS), _PREPARED_AS)
        lists = home / _LISTS
        splits = splits_by_list(home / "JPEGImages", home / _MASKS, lists, ("train", "val"))
        require_splits(splits, _PREPARED_AS, f"train.txt or val.txt in {lists}")
        return splits


class PascalContext60(PascalContext59):
    """The same masks with the background as class 0."""

    name = "pascal_context_60"
    summary = "PASCAL-Context with background, 60 classes"
