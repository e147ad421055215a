"""The label files of YOLO segmentation: `class x1 y1 x2 y2 ...` a line, coordinates as fractions of the image."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from vitseg import parsing
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.polygons import has_area

_LEFT_OUT = (
    "The object is left out, so that its pixels count as background: mend the line, or remove it."
)

FAULTS: dict[str, FaultKind] = {
    "label-file-unreadable": FaultKind(
        "error", "Label files are no readable text", "Write them anew with the labelling tool."
    ),
    "label-detection-line": FaultKind(
        "warning",
        "Label lines are boxes of object detection (class, x, y, width, height) rather than polygons",
        "Export the labels as segmentation (class x1 y1 x2 y2 x3 y3 ...).",
        grave_if_many=True,
    ),
    "label-odd-coordinates": FaultKind(
        "warning",
        "Label lines have an odd number of coordinates",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "polygon-too-few-points": FaultKind(
        "warning",
        "Label lines have fewer than three points",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "polygon-without-area": FaultKind(
        "warning",
        "Label lines have points that are all on one line",
        "The object covers no pixel and is left out.",
        grave_if_many=True,
    ),
    "label-unreadable-number": FaultKind(
        "warning",
        "Label lines have something that is no number",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "label-unknown-class": FaultKind(
        "error",
        "Label lines have a class number that is not in the list of names",
        "Add the class to the names (they count from 0), or mend the line: the object is left out.",
    ),
    "label-not-normalised": FaultKind(
        "warning",
        "Label lines have coordinates far outside [0, 1], perhaps pixels",
        "Divide x by the width and y by the height of the image.",
        grave_if_many=True,
    ),
    "polygon-outside-image": FaultKind(
        "warning",
        "Label lines have coordinates outside [0, 1]",
        "The polygon is cut off at the border of the image.",
    ),
    "image-without-annotation": FaultKind(
        "info",
        "Images have no sound label line, or no label file: every pixel is background",
        "If objects are to be seen in them, label them or leave the images out.",
        warning_if_most=True,
    ),
    "mask-without-image": FaultKind(
        "warning",
        "Label files have no image of the same name",
        "Add the images, or remove the label files: they are not used.",
    ),
}


def read_label_file(
    path: Path, known: Collection[int], faults: Faults
) -> list[tuple[int, list[np.ndarray]]]:
    """The polygons of a label file, (class number, [polygon]) each; one that does not exist has none.

    Args:
        path: The label file.
        known: Class numbers that have a name.
        faults: Where what is wrong is noted, with file and line.
    """
    if not path.exists():
        return []
    try:
        lines = parsing.read_text(path).splitlines()
    except parsing.UnreadableError:
        faults.add("label-file-unreadable", str(path))
        return []
    shapes: list[tuple[int, list[np.ndarray]]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            shape = _read_line(line, f"{path}:{number}", known, faults)
            if shape is not None:
                shapes.append(shape)
    return shapes


def _read_line(
    line: str, place: str, known: Collection[int], faults: Faults
) -> tuple[int, list[np.ndarray]] | None:
    words = line.split()
    try:
        values = np.array(words, np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or values[0] != int(values[0]):
        faults.add("label-unreadable-number", place)
        return None
    polygon = values[1:]
    fault = None
    if int(values[0]) not in known:
        fault = "label-unknown-class"
    elif len(polygon) == 4:
        fault = "label-detection-line"
    elif len(polygon) % 2:
        fault = "label-odd-coordinates"
    elif len(polygon) < 6:
        fault = "polygon-too-few-points"
    elif polygon.min() < -1 or polygon.max() > 2:
        fault = "label-not-normalised"
    elif not has_area(polygon.reshape(-1, 2)):
        fault = "polygon-without-area"
    if fault is not None:
        faults.add(fault, place)
        return None
    if polygon.min() < 0 or polygon.max() > 1:
        faults.add("polygon-outside-image", place)
    return int(values[0]), [polygon]
