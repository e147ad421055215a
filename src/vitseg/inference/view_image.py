"""What a model is run on: one view of an image, whole or some pixels of it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitseg.images.preprocess import Preprocessing, to_tensor
from vitseg.types import Size, spatial_size

NORMALISED_AT_ONCE = 4_000_000
"""Pixels of a picture that is kept normalised, in 12 bytes a pixel; of a larger one only what is run, when it is."""


@runtime_checkable
class ViewImage(Protocol):
    """A normalised image, which need not exist as a whole.

    Attributes:
        size: (height, width) in pixels.
        device: Of the tensors.
    """

    @property
    def size(self) -> Size: ...

    @property
    def device(self) -> torch.device: ...

    def part(self, top: int, left: int, size: Size) -> Float[Tensor, "1 channels h w"]:
        """Some pixels.

        Args:
            top: First row.
            left: First column.
            size: (height, width).
        """
        ...


class TensorImage:
    """A view that is there as a tensor."""

    def __init__(self, images: Float[Tensor, "1 channels H W"]):
        self._images = images
        self.size = spatial_size(images)
        self.device = images.device

    def part(self, top: int, left: int, size: Size) -> Float[Tensor, "1 channels h w"]:
        return self._images[..., top : top + size[0], left : left + size[1]]


class PixelImage:
    """A view of 8-bit pixels, which are normalised when they are asked for.

    Args:
        pixels: RGB, at the size of the view.
        preprocessing: Normalisation of the model.
        device: Of the tensors.
    """

    def __init__(
        self, pixels: UInt8[np.ndarray, "H W c"], preprocessing: Preprocessing, device: torch.device
    ):
        self._pixels, self._preprocessing = pixels, preprocessing
        self.size: Size = (pixels.shape[0], pixels.shape[1])
        self.device = device

    def part(self, top: int, left: int, size: Size) -> Float[Tensor, "1 channels h w"]:
        pixels = self._pixels[top : top + size[0], left : left + size[1]]
        return to_tensor(pixels, self._preprocessing)[None].to(self.device)  # (1, 3, h, w)


class MirroredImage:
    """Another view, mirrored from left to right."""

    def __init__(self, image: ViewImage):
        self._image = image
        self.size = image.size
        self.device = image.device

    def part(self, top: int, left: int, size: Size) -> Float[Tensor, "1 channels h w"]:
        return self._image.part(top, self.size[1] - left - size[1], size).flip(3)


def view_of(
    pixels: UInt8[np.ndarray, "H W c"], preprocessing: Preprocessing, device: torch.device
) -> ViewImage:
    """The view of 8-bit pixels; normalised at once where it is small, since windows overlap.

    Args:
        pixels: RGB, at the size of the view.
        preprocessing: Normalisation of the model.
        device: Of the tensors.
    """
    image = PixelImage(pixels, preprocessing, device)
    if pixels.shape[0] * pixels.shape[1] > NORMALISED_AT_ONCE:
        return image
    return TensorImage(image.part(0, 0, image.size))
