"""What is read off a foreign checkpoint before its model is built."""

from __future__ import annotations

from typing import Any, NamedTuple

from vitseg.images.preprocess import Preprocessing
from vitseg.types import Size

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Normalisation by the colours of ImageNet."""

HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Normalisation to [-1, 1]."""


class Architecture(NamedTuple):
    """What the shapes of a checkpoint say.

    Attributes:
        config: The method's configuration.
        num_classes: Number of its classes.
        image_size: (height, width) of the training images in pixels.
        preprocessing: How its images were normalised, by which pretrained weights it started from.
    """

    config: dict[str, Any]
    num_classes: int
    image_size: Size
    preprocessing: Preprocessing

    @property
    def crop(self) -> int:
        """The short side of the training images in pixels."""
        return min(self.image_size)
