"""labelme: a json file beside every image, with polygons along the borders of pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vitseg.annotations.folder import AnnotationFolder
from vitseg.classes import IGNORE_INDEX
from vitseg.files import write_whole
from vitseg.images.outlines import largest_first, outline

IGNORED = "__ignore__"
"""Labelme's name of pixels that count nowhere."""


class LabelmeFolder(AnnotationFolder):
    """`a.json` beside `a.jpg`.

    A polygon has no holes: what lies in the hole of a piece is a polygon of its own, written after it, and a later
    shape lies over an earlier one.
    """

    images = ""

    def annotate(self, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        shapes = [
            {
                "label": IGNORED
                if piece.index == IGNORE_INDEX
                else self.classes.names[piece.index],
                "points": outline(piece).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
            }
            for piece in largest_first(label_map)
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": label_map.shape[0],
            "imageWidth": label_map.shape[1],
        }
        # On one line: outlines along pixels have many points.
        write_whole(self.folder / f"{Path(name).stem}.json", json.dumps(content) + "\n")

    def close(self) -> None:
        """Every image has its own file."""
