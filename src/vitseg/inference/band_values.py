"""Arrays, tensors and Pillow images as the input of a model of chosen bands."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vitseg.errors import DataError
from vitseg.images.band_array import ArrayBands, band_limits, image_planes
from vitseg.images.bands import Bands, numbers_in
from vitseg.images.notices import say_notices
from vitseg.images.pixel_source import range_needed
from vitseg.images.value_range import PictureValues, to_bytes
from vitseg.images.window import Window


def bands_of_array(values: np.ndarray, bands: Bands) -> UInt8[np.ndarray, "H W c"]:
    """An array that has a channel for each chosen band, in their order, on the last axis.

    8 bits are taken as they are; other values by the range of each band.

    Raises:
        DataError: It has another number of channels, no values, or some whose range the model does not know.
    """
    wanted = bands.num_channels
    if values.ndim == 2 and wanted == 1:
        values = values[:, :, None]
    number = f"{wanted} band{'' if wanted == 1 else 's'}"
    if (
        values.ndim != 3
        or values.shape[2] != wanted
        or not values.size
        or values.dtype.kind not in "uif"
    ):
        raise DataError(
            f"the image array is {values.shape} {values.dtype}; this model sees {number} ({bands.words}), so "
            f"allowed is (height, width, {wanted}), of numbers.{_advice(values.shape, wanted)}"
        )
    pixels = np.empty(values.shape, np.uint8)
    for channel, band in enumerate(bands.chosen):
        limits = band_limits(band, values.dtype, partial(_nothing_says, values.dtype), [])
        pixels[..., channel] = to_bytes(values[..., channel], limits)
    return pixels


def _nothing_says(dtype: np.dtype) -> PictureValues:
    raise DataError(range_needed("the image array", str(dtype)))


def bands_of_tensor(image: Tensor, bands: Bands) -> UInt8[np.ndarray, "H W c"]:
    """As `bands_of_array`; a tensor whose first size is the number of bands has them first, as torch has it."""
    if image.is_meta or image.is_nested or image.layout != torch.strided:
        raise DataError("the image tensor has no values in memory; allowed is an ordinary one.")
    if image.ndim == 3 and image.shape[0] == bands.num_channels:
        image = image.permute(1, 2, 0)
    return bands_of_array(image.detach().cpu().numpy(), bands)


def bands_of_picture(picture: Image.Image, bands: Bands) -> UInt8[np.ndarray, "H W c"]:
    """Chosen bands of an upright Pillow image; it has no extra images."""
    planes, found = image_planes(picture)
    places = numbers_in(bands, found, "the picture")
    opened = ArrayBands(planes, places, bands.chosen, "the picture")
    say_notices("the picture", opened.notices)
    return opened.read(Window(0, 0, *opened.size))


def _advice(shape: tuple[int, ...], wanted: int) -> str:
    if len(shape) == 3 and shape[0] == wanted:
        return " Bands that come first are moved by image.transpose(1, 2, 0)."
    if len(shape) == 3 and shape[2] > wanted:
        return " Choose the bands, in this order, by image[..., [0, ...]]."
    return ""
