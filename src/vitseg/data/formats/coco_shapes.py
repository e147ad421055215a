"""The `segmentation` of a COCO annotation: polygons or run lengths, checked before they are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from vitseg.data.formats.faults import Faults
from vitseg.data.formats.rasterise import decode_counts
from vitseg.data.formats.shapes import RunLengths
from vitseg.types import Size

_FARTHEST = 10  # times the side of the image; a polygon beyond that is no slip of a mouse


def read_shape(
    value: Any, size: Size, place: str, faults: Faults
) -> RunLengths | list[np.ndarray] | None:
    """The shape of one annotation.

    Args:
        value: Content of the annotation's field `segmentation`.
        size: (height, width) of the image, in pixels.
        place: Name of the annotation, for faults.
        faults: Where what is wrong is noted, under the codes of `coco.FAULTS`.

    Returns:
        The shape; None if it has no sound one.
    """
    if not value:
        faults.add("annotation-without-shape", place)
        return None
    try:
        if isinstance(value, dict):
            return _run_lengths(value, size)
        polygons = [np.array(polygon, np.float64) for polygon in value]
        if not all(polygon.ndim == 1 and len(polygon) % 2 == 0 for polygon in polygons):
            raise ValueError("a polygon is a list of x, y, x, y, ...")
    except (ValueError, TypeError):
        faults.add("annotation-malformed", place)
        return None
    if any(len(polygon) < 6 for polygon in polygons):
        faults.add("polygon-too-few-points", place)
        return None
    excess = max(_excess(polygon, size) for polygon in polygons)
    if not excess < _FARTHEST:
        faults.add("annotation-malformed", place)
        return None
    if excess > 0:
        faults.add("polygon-outside-image", place)
    return polygons


def _excess(polygon: np.ndarray, size: Size) -> float:
    """How far a polygon leaves its image, in sides of the image; infinite if a coordinate is no number."""
    if not np.isfinite(polygon).all():
        return math.inf
    xs, ys = polygon[0::2], polygon[1::2]
    height, width = size
    return float(
        max(-xs.min() / width, xs.max() / width - 1, -ys.min() / height, ys.max() / height - 1, 0)
    )


def _run_lengths(value: Mapping[str, Any], size: Size) -> RunLengths:
    """Run lengths, compressed; pycocotools reads beyond its memory if they do not fill the image, so this is checked.

    Raises:
        ValueError, TypeError: They are no run lengths of this size.
    """
    counts = value.get("counts")
    if list(value.get("size", ())) != list(size):
        raise ValueError("size is not that of the image")
    if isinstance(counts, str):
        if int(decode_counts(counts).sum()) != size[0] * size[1]:
            raise ValueError("counts do not fill the image")
        return RunLengths(counts.encode("ascii"))
    lengths = np.array(counts)
    if lengths.ndim != 1 or lengths.dtype.kind != "i" or lengths.min() < 0:
        raise ValueError("counts must be whole numbers")
    area = size[0] * size[1]
    if lengths.max() > area or int(lengths.sum()) != area:  # the sum alone may overflow
        raise ValueError("counts do not fill the image")
    encoded: Any = rle_tools.frPyObjects({"size": list(size), "counts": lengths.tolist()}, *size)
    return RunLengths(encoded["counts"])
