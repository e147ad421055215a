"""Label maps as colours: indexed PNG files and RGB arrays."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.files import whole_file

MAX_INDEXED_CLASSES = 256
"""An indexed PNG holds 8-bit indices; larger tables need 16-bit grey."""

IGNORE_COLOR = (0, 0, 0)


def save_label_png(
    path: Path,
    label_map: Integer[np.ndarray, "H W"],
    classes: ClassTable,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> None:
    """Write a label map as a PNG that holds class indices and, up to 256 classes, the palette.

    Above 256 classes the file is 16-bit grey without colours. The parent folder is created. The file appears whole
    or not at all: it is written beside its place and then moved.

    Args:
        path: Where to write; an existing file is replaced.
        label_map: Class index of every pixel; ignored pixels (IGNORE_INDEX) cannot be stored.
        classes: Names and colours.
        valid: Which pixels hold data; the others are 255, or 65535 where there are more than 255 classes. None: all.
    """
    save_whole(path, label_image(label_map, classes, valid))


def label_dtype(num_classes: int) -> np.dtype:
    """The type of labels in files, whose highest value is no class: that of pixels without data."""
    return np.dtype(np.uint8 if num_classes <= 255 else np.uint16)


def without_data(num_classes: int) -> int:
    """The label of pixels without data in files."""
    return int(np.iinfo(label_dtype(num_classes)).max)


def label_image(
    label_map: Integer[np.ndarray, "H W"],
    classes: ClassTable,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> Image.Image:
    """The picture that `save_label_png` writes."""
    num_classes, where = classes.num_classes, True if valid is None else valid
    low, high = (int(end(label_map, where=where, initial=0)) for end in (np.min, np.max))
    assert 0 <= low <= high < num_classes, f"labels {low}..{high}, table has {num_classes} classes"
    highest = num_classes - 1
    if valid is not None:
        highest = without_data(num_classes)
        label_map = np.where(valid, label_map, highest)
    if highest < MAX_INDEXED_CLASSES:
        # A full palette, or Pillow packs small tables into 1, 2 or 4 bits, which some readers of masks cannot take.
        colors = np.zeros((MAX_INDEXED_CLASSES, 3), dtype=np.uint8)
        colors[:num_classes] = classes.palette
        image = Image.fromarray(label_map.astype(np.uint8))
        image.putpalette(colors.tobytes())
        return image
    return Image.fromarray(label_map.astype(np.uint16))


def save_whole(path: Path, image: Image.Image, image_format: str = "PNG", **options: Any) -> None:
    """Write an image so that no half-written file is ever seen under its name; the parent folder is created.

    Args:
        path: Where to write; an existing file is replaced.
        image: The image.
        image_format: Pillow's name of the format.
        options: Of Pillow's writer.
    """
    encoded = encode(image, image_format, **options)
    with whole_file(path) as partial:
        partial.write_bytes(encoded)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The content of an image file.

    Made in memory and then written in one piece, since Pillow does not say why it cannot write, as on a full disk.
    """
    buffer = BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def colorize(
    label_map: Integer[np.ndarray, "H W"], classes: ClassTable
) -> UInt8[np.ndarray, "H W 3"]:
    """The label map in the colours of its classes; ignored pixels are black."""
    table = np.array([*classes.palette, IGNORE_COLOR], dtype=np.uint8)
    # the ignored colour is the last row, which is where IGNORE_INDEX, being -1, looks it up
    assert IGNORE_INDEX == -1
    return table[label_map]
