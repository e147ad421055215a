"""What a predictor may be given as an image, and how each becomes RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from vitseg.errors import DataError
from vitseg.images.notices import say_notices
from vitseg.images.pillow_reader import to_rgb
from vitseg.images.reader import decode
from vitseg.images.value_range import ValueRange

ImageSource = str | Path | Image.Image | np.ndarray | Tensor

_ALLOWED = (
    "allowed are a file name, a Pillow image, an (height, width, 3) uint8 RGB array, a uint8 tensor of "
    "(3, height, width) or (height, width, 3), and a list of these"
)


def read_source(source: object, declared: ValueRange | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """(H, W, 3) uint8 RGB of any image source, contiguous; what was decided about its pixels is logged.

    Args:
        source: An `ImageSource`; of whatever else comes, the error says what it is.
        declared: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: The file cannot be read, or the source is something else.
    """
    if isinstance(source, str | Path):
        decoded = decode(source, declared=declared)
        say_notices(str(source), decoded.notices)
        return decoded.pixels
    if isinstance(source, Image.Image):
        decoded = to_rgb(ImageOps.exif_transpose(source), "the picture", declared)
        say_notices("the picture", decoded.notices)
        return decoded.pixels
    if isinstance(source, Tensor):
        return _of_tensor(source)
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if source is None:
        raise DataError(
            "the image is None: cv2.imread returns that for a file that is missing or no image. Give the file's name "
            "instead, and the error says what is wrong with it."
        )
    raise DataError(f"the image is a {type(source).__name__}, but {_ALLOWED}.")


def _of_array(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"the image array is {image.shape} {image.dtype}; allowed is (height, width, 3) uint8 RGB."
        )
    return np.ascontiguousarray(image)  # a view with negative strides is nothing for torch


def _of_tensor(image: Tensor) -> UInt8[np.ndarray, "H W 3"]:
    """Of a tensor whose first and last size are 3, the first is that of the colours, as torch has it."""
    kind = str(image.dtype).removeprefix("torch.")
    shape = tuple(image.shape)
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or kind != "uint8" or not image.numel():
        advice = ""
        if image.is_floating_point():
            advice = " Values in [0, 1] become so by (image * 255).round().byte()."
        elif len(shape) == 4:
            advice = " Give the images of a batch as a list: list(images)."
        raise DataError(
            f"the image tensor is {shape} {kind}; allowed is (3, height, width) or (height, width, 3) uint8 RGB."
            + advice
        )
    pixels = image.detach().cpu()
    if shape[0] == 3:
        pixels = pixels.permute(1, 2, 0)  # (H, W, 3)
    return np.ascontiguousarray(pixels.numpy())
