"""The `segmentation` of a COCO annotation: polygons or run lengths, checked before they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from vitseg.data.formats.faults import Faults
from vitseg.data.formats.polygons import FARTHEST, excess, has_area
from vitseg.data.formats.rasterise import decode_counts
from vitseg.data.formats.shapes import RunLengths
from vitseg.types import Size


def read_shape(
    value: Any, size: Size, place: str, faults: Faults
) -> RunLengths | list[np.ndarray] | None:
    """The shape of one annotation; of several polygons, those that are sound.

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
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return _joined([_run_lengths(each, size) for each in value], size)
        if isinstance(value, dict):
            return _run_lengths(value, size)
        parts = [np.array(part, np.float64).ravel() for part in _parts(value)]
    except (ValueError, TypeError, OverflowError):
        faults.add("annotation-malformed", place)
        return None
    polygons: list[np.ndarray] = []
    wrong: dict[str, None] = {}
    for part in parts:
        code = _fault(part, size)
        if code is None or code == "polygon-outside-image":
            polygons.append(part)
        if code is not None:
            wrong[code] = None
    for code in wrong:
        faults.add(code, place)
    return polygons or None


def _parts(value: Any) -> list:
    """The polygons of a list of polygons, or of one polygon that lies in no list of its own."""
    if not isinstance(value, list):
        raise TypeError("neither run lengths nor polygons")
    return [value] if all(isinstance(each, int | float) for each in value) else value


def _fault(polygon: np.ndarray, size: Size) -> str | None:
    """What is wrong with a polygon, as a code of `coco.FAULTS`; None if nothing is."""
    if len(polygon) % 2:
        return "annotation-malformed"
    points = polygon.reshape(-1, 2)
    if len(points) < 3:
        return "polygon-too-few-points"
    beyond = excess(points, size)
    if not beyond < FARTHEST:
        return "annotation-malformed"
    if not has_area(points):
        return "polygon-without-area"
    return "polygon-outside-image" if beyond > 0 else None


def _joined(parts: Sequence[RunLengths], size: Size) -> RunLengths:
    """The run lengths of several parts of an object as those of the whole."""
    if len(parts) == 1:
        return parts[0]
    merged: Any = rle_tools.merge([{"size": list(size), "counts": part.counts} for part in parts])
    return RunLengths(merged["counts"])


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
    if (
        lengths.dtype.kind == "f"
        and (lengths == np.trunc(lengths)).all()
        and abs(lengths).max() < 2**53
    ):
        lengths = lengths.astype(np.int64)
    if lengths.ndim != 1 or lengths.dtype.kind != "i" or lengths.min() < 0:
        raise ValueError("counts must be whole numbers")
    area = size[0] * size[1]
    if lengths.max() > area or int(lengths.sum()) != area:  # the sum alone may overflow
        raise ValueError("counts do not fill the image")
    encoded: Any = rle_tools.frPyObjects({"size": list(size), "counts": lengths.tolist()}, *size)
    return RunLengths(encoded["counts"])
