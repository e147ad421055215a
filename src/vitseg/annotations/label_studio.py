"""Label Studio: brush strokes as predictions of tasks, and the label config that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Integer

from vitseg.annotations.folder import AnnotationFolder
from vitseg.classes import ClassTable
from vitseg.files import write_whole
from vitseg.images.brush_rle import encode_brush

TASKS, LABEL_CONFIG = "tasks.json", "label_config.xml"
_LABELS, _IMAGE = "labels", "image"


class LabelStudioFolder(AnnotationFolder):
    """`tasks.json` with a prediction for every image, `label_config.xml` for the project, and `images/`.

    Images are named as local files: Label Studio finds them where its document root
    (`LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`) is the folder.
    """

    def __init__(self, folder: Path, classes: ClassTable):
        super().__init__(folder, classes)
        self._tasks: list[dict[str, Any]] = []

    def annotate(self, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        place = quote(f"{self.images}/{name}")
        regions = brush_regions(label_map, dict(enumerate(self.classes.names)), _LABELS, _IMAGE)
        self._tasks.append(
            {
                "id": len(self._tasks) + 1,
                "data": {_IMAGE: f"/data/local-files/?d={place}"},
                "predictions": [{"model_version": "vitseg", "result": regions}],
            }
        )

    def close(self) -> None:
        write_whole(self.folder / TASKS, json.dumps(self._tasks) + "\n")  # numbers by the million
        write_whole(self.folder / LABEL_CONFIG, label_config(self.classes))


def brush_regions(
    label_map: Integer[np.ndarray, "H W"],
    names: Mapping[int, str],
    from_name: str,
    to_name: str,
    scores: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """A region for every class that occurs and has a name.

    Args:
        label_map: Class index of every pixel.
        names: Class index -> label; classes without one are left out.
        from_name: Name of the label config's brush labels.
        to_name: Name of its image.
        scores: Class index -> how sure the model is of it, in [0, 1].
    """
    height, width = label_map.shape
    regions: list[dict[str, Any]] = []
    for index in np.unique(label_map).tolist():
        if index not in names:
            continue
        value = {
            "format": "rle",
            "rle": list(encode_brush(label_map == index)),
            "brushlabels": [names[index]],
        }
        region = {
            "id": f"class-{index}",
            "from_name": from_name,
            "to_name": to_name,
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": value,
        }
        if scores is not None and index in scores:
            region["score"] = scores[index]
        regions.append(region)
    return regions


def label_config(classes: ClassTable) -> str:
    """The label config of a project with these classes, as XML."""
    lines = [
        "<View>",
        f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>',
        f'  <BrushLabels name="{_LABELS}" toName="{_IMAGE}">',
    ]
    for name, color in zip(classes.names, classes.palette, strict=True):
        background = "#{:02x}{:02x}{:02x}".format(*color)
        lines.append(f'    <Label value={quoteattr(name)} background="{background}"/>')
    return "\n".join([*lines, "  </BrushLabels>", "</View>"]) + "\n"
