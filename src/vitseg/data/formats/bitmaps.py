"""Masks that annotations carry as pictures of their own, encoded as text."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pycocotools import mask as rle_tools

from vitseg.data.formats.shapes import RunLengths


def read_bitmap(text: str, most_pixels: int) -> Bool[np.ndarray, "H W"]:
    """Where a picture in base64 is inside: what is opaque in a cut-out, else what is not black.

    Args:
        text: The picture, perhaps as a `data:` address.
        most_pixels: Pixels that it may have; a larger one is not decoded.

    Raises:
        ValueError: It is no base64, or larger.
        OSError: It is no picture, or damaged.
    """
    data = base64.b64decode(
        text.partition(",")[2] if text.startswith("data:") else text, validate=True
    )
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > most_pixels:
            raise ValueError("a mask larger than its image")
        opacity = np.asarray(image.convert("RGBA"))[:, :, 3]
        if opacity.min() != opacity.max() or not opacity.any():
            return opacity >= 128
        return np.asarray(image.convert("L")) > 0


def runs_of_bitmap(inside: Bool[np.ndarray, "H W"]) -> RunLengths | None:
    """The mask as run lengths; None if nothing is inside."""
    counts: Any = rle_tools.encode(np.asfortranarray(inside, np.uint8))
    return RunLengths(counts["counts"]) if inside.any() else None
