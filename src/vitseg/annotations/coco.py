"""COCO annotation files: one annotation with run lengths for each class of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer
from pycocotools import mask as rle_tools

from vitseg.annotations.folder import AnnotationFolder
from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.files import write_json


class CocoFolder(AnnotationFolder):
    """`annotations/instances_default.json` beside `images/`, as CVAT imports and exports COCO 1.0.

    The class of index n is category n + 1. All pixels of a class in an image are one annotation with `iscrowd: 1`, for
    which run lengths are the rule: tools that read polygons for single objects read these as a mask.
    """

    def __init__(self, folder: Path, classes: ClassTable):
        super().__init__(folder, classes)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def annotate(self, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        height, width = label_map.shape
        image = {"id": len(self._images) + 1, "file_name": name, "height": height, "width": width}
        self._images.append(image)
        for index in np.unique(label_map[label_map != IGNORE_INDEX]).tolist():
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image["id"],
                    "category_id": index + 1,
                    **mask_fields(label_map == index),
                }
            )

    def close(self) -> None:
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories(self.classes),
        }
        write_json(self.folder / "annotations" / "instances_default.json", content)


def categories(classes: ClassTable) -> list[dict[str, Any]]:
    """The classes: that of index n is category n + 1."""
    return [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(classes.names, start=1)
    ]


def mask_fields(inside: Bool[np.ndarray, "H W"]) -> dict[str, Any]:
    """The fields of an annotation that say where it is; see `run_fields`."""
    return {**run_fields(rle_tools.encode(np.asfortranarray(inside, np.uint8))), "iscrowd": 1}


def run_fields(runs: Any) -> dict[str, Any]:
    """Compressed run lengths, area in pixels and box (x, y, w, h).

    Args:
        runs: As pycocotools has them.
    """
    return {
        "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
        "area": int(rle_tools.area(runs)),
        "bbox": rle_tools.toBbox(runs).tolist(),
    }
