"""The tools that annotations are written for."""

from __future__ import annotations

from vitseg.annotations.coco import CocoFolder
from vitseg.annotations.cvat import CvatFolder
from vitseg.annotations.folder import AnnotationFolder
from vitseg.annotations.label_studio import LabelStudioFolder
from vitseg.annotations.labelme import LabelmeFolder

WRITERS: dict[str, type[AnnotationFolder]] = {
    "cvat": CvatFolder,
    "label-studio": LabelStudioFolder,
    "coco": CocoFolder,
    "labelme": LabelmeFolder,
}
"""By the name of `--annotations`."""
