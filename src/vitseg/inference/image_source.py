"""What a predictor may be given as an image, and how each becomes RGB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from vitseg.errors import DataError
from vitseg.images.bands import Bands
from vitseg.images.decoded import Decoded
from vitseg.images.notices import say_notices
from vitseg.images.pillow_reader import to_rgb
from vitseg.images.reader import decode
from vitseg.images.sources import DECODE_ERRORS, StoredPicture, damaged, name_of, quiet
from vitseg.images.value_range import ValueRange

ImageSource = str | Path | Image.Image | np.ndarray | Tensor | StoredPicture

_ALLOWED = (
    "allowed are a file name, a Pillow image, an (height, width, 3) uint8 RGB array, a uint8 tensor of "
    "(3, height, width) or (height, width, 3), and a list of these"
)


def read_source(
    source: object, declared: ValueRange | Bands | None = None
) -> UInt8[np.ndarray, "H W c"]:
    """(H, W, 3) uint8 RGB of any image source, contiguous; what was decided about its pixels is logged.

    Args:
        source: An `ImageSource`; of whatever else comes, the error says what it is.
        declared: Black and white of more than 8 bits, if they are stated; or the bands that are chosen, which are then
            the channels.

    Raises:
        DataError: The file cannot be read, or the source is something else.
    """
    return read_picture(source, declared, placed=False).pixels


def read_picture(
    source: object, declared: ValueRange | Bands | None = None, placed: bool = True
) -> Decoded:
    """The pixels of `read_source`, and of a file where it lies and which of them hold data.

    Args:
        source: As for `read_source`.
        declared: As for `read_source`.
        placed: Whether the latter is read.

    Raises:
        DataError: As for `read_source`.
    """
    if isinstance(source, str | Path):
        _require_file_name(source)
    if isinstance(source, str | Path | StoredPicture):
        decoded = decode(source, declared=declared, placed=placed)
        say_notices(name_of(source), decoded.notices)
        return decoded
    pixels = _in_memory(source, declared)
    return Decoded(pixels, (pixels.shape[0], pixels.shape[1]), ())


def _in_memory(source: object, declared: ValueRange | Bands | None) -> UInt8[np.ndarray, "H W c"]:
    """The pixels of an image that is no file."""
    bands = declared if isinstance(declared, Bands) else None
    if isinstance(source, Image.Image):
        return _of_picture(source, declared)
    if bands is not None and isinstance(source, Tensor | np.ndarray):
        from vitseg.inference.band_values import bands_of_array, bands_of_tensor

        if isinstance(source, Tensor):
            return bands_of_tensor(source, bands)
        return bands_of_array(cast("np.ndarray", source), bands)
    if isinstance(source, Tensor):
        return _of_tensor(source)
    if isinstance(source, np.ndarray):
        return _of_array(cast("np.ndarray", source))
    if source is None:
        raise DataError(
            "the image is None: cv2.imread returns that for a file that is missing or no image. Give the file's name "
            "instead, and the error says what is wrong with it."
        )
    raise DataError(f"the image is a {type(source).__name__}, but {_ALLOWED}.{_way(source)}")


def _require_file_name(source: str | Path) -> None:
    if source == "":
        raise DataError("the image's file name is empty: give the name of a file.")
    if isinstance(source, str) and "://" in source and not Path(source).exists():
        raise DataError(
            f"{source} is an address, and images are read from files: download it, and give the file."
        )


def _of_picture(
    picture: Image.Image, declared: ValueRange | Bands | None
) -> UInt8[np.ndarray, "H W c"]:
    """Of a Pillow image, whose file is read and decoded here if it was only opened so far."""
    try:
        with quiet():
            upright = ImageOps.exif_transpose(picture)
        if isinstance(declared, Bands):
            from vitseg.inference.band_values import bands_of_picture

            return bands_of_picture(upright, declared)
        decoded = to_rgb(upright, "the picture", declared)
    except DECODE_ERRORS as error:
        raise damaged("the picture", error) from error
    if not decoded.pixels.size:
        raise DataError(f"the picture has {picture.width} x {picture.height} pixels: it is empty.")
    say_notices("the picture", decoded.notices)
    return decoded.pixels


def _way(source: object) -> str:
    """How to get an image out of what is none, where that is known."""
    if isinstance(source, bytes | bytearray | memoryview):
        return " The bytes of a file become one by PIL.Image.open(io.BytesIO(data))."
    if hasattr(source, "read"):
        return " A file that is open becomes one by PIL.Image.open(file)."
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return " Several images come as a list: list(images)."
    return ""


def _advice(shape: tuple[int, ...], is_float: bool, is_tensor: bool) -> str:
    """What makes an array or a tensor of another shape or type one that is allowed, where that is known."""
    if 0 in shape:
        return " It is empty."
    if len(shape) == 4:
        return " Give the images of a batch as a list: list(images)."
    if is_float:
        way = "(image * 255).round()" + (".byte()" if is_tensor else '.astype("uint8")')
        return f" Values in [0, 1] become so by {way}."
    if len(shape) == 2:
        return " Grey becomes so by " + (
            "image.expand(3, -1, -1)." if is_tensor else "numpy.stack([image] * 3, axis=-1)."
        )
    if len(shape) == 3 and shape[2] == 4:
        return " A fourth channel is left out by image[..., :3]."
    if len(shape) == 3 and shape[0] == 3 and not is_tensor:
        return " Colours that come first are moved by image.transpose(1, 2, 0)."
    return ""


def _of_array(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"the image array is {image.shape} {image.dtype}; allowed is (height, width, 3) uint8 RGB."
            + _advice(image.shape, image.dtype.kind == "f", is_tensor=False)
        )
    return np.ascontiguousarray(image)  # a view with negative strides is nothing for torch


def _of_tensor(image: Tensor) -> UInt8[np.ndarray, "H W 3"]:
    """Of a tensor whose first and last size are 3, the first is that of the colours, as torch has it."""
    if image.is_meta or image.is_nested or image.layout != torch.strided:
        kind = "on the device meta" if image.is_meta else "nested" if image.is_nested else "sparse"
        raise DataError(
            f"the image tensor is {kind}; allowed is an ordinary one, whose values are in memory."
        )
    kind = str(image.dtype).removeprefix("torch.")
    shape = tuple(image.shape)
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or kind != "uint8" or not image.numel():
        raise DataError(
            f"the image tensor is {shape} {kind}; allowed is (3, height, width) or (height, width, 3) uint8 RGB."
            + _advice(shape, image.is_floating_point(), is_tensor=True)
        )
    pixels = image.detach().cpu()
    if shape[0] == 3:
        pixels = pixels.permute(1, 2, 0)  # (H, W, 3)
    return np.ascontiguousarray(pixels.numpy())
