"""Between RGB pixels and the tensor that a model takes: one rule for training, prediction and display."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from vitseg.images.bands import Bands
from vitseg.images.value_range import ValueRange
from vitseg.types import Size


class Preprocessing(BaseModel):
    """How pixels become numbers; stored with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, ...] = Field(
        description="mean of the RGB channels, or of the chosen bands, in [0, 1]"
    )
    std: tuple[float, ...] = Field(description="standard deviation of the same, in [0, 1]")
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="values that are black and white in images of more than 8 bits; None: as each file states, else by "
        "its own values",
    )

    bands: Bands | None = Field(
        default=None, description="the bands that are the channels; None: red, green and blue"
    )

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

    @property
    def limits(self) -> ValueRange | None:
        """The value range for the readers."""
        return None if self.value_range is None else ValueRange(*self.value_range)

    @property
    def num_channels(self) -> int:
        """Channels of the model's input."""
        return len(self.mean)

    @property
    def known_bands(self) -> Bands | None:
        """The bands with mean and standard deviation of each, as a recipe has them."""
        if self.bands is None:
            return None
        chosen = (
            band.model_copy(update={"mean": mean, "std": std})
            for band, mean, std in zip(self.bands.chosen, self.mean, self.std, strict=True)
        )
        return self.bands.model_copy(update={"chosen": tuple(chosen)})

    @property
    def reading(self) -> ValueRange | Bands | None:
        """How the readers are to read a picture: its bands, or the range of its values, where it is stated."""
        return self.limits if self.bands is None else self.bands.read_by(self.limits)

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> Preprocessing:
        wanted = 3 if self.bands is None else self.bands.num_channels
        if not len(self.mean) == len(self.std) == wanted:
            of = "red, green and blue" if self.bands is None else f"the {wanted} bands"
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}, but each needs one for each of {of}"
            )
        return self

    @model_validator(mode="after")
    def _in_units_of_one(self) -> Preprocessing:
        if max(*self.mean, *self.std) > 1:
            raise ValueError(
                f"mean is {self.mean} and std {self.std}, but both are in [0, 1]: divide them by 255"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(
                f"mean is {self.mean} and std {self.std}, but every value is a finite number"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}, but every value must be positive")
        return self

    def levels(self) -> tuple[Float32[np.ndarray, " c"], Float32[np.ndarray, " c"]]:
        """Mean and standard deviation in the units of pixels, [0, 255]."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return mean * np.float32(255), std * np.float32(255)


def to_tensor(
    image: UInt8[np.ndarray, "H W c"], preprocessing: Preprocessing
) -> Float32[Tensor, "c H W"]:
    """An image, normalised. The colours of a pixel stay side by side in memory, as convolutions like it.

    Args:
        image: RGB, or the chosen bands.
        preprocessing: Normalisation of the model.
    """
    height, width = image.shape[:2]
    mean, std = (np.tile(level, width) for level in preprocessing.levels())  # by whole rows: faster
    rows = np.subtract(image.reshape(height, -1), mean, dtype=np.float32)
    rows /= std
    return torch.from_numpy(rows.reshape(image.shape)).permute(2, 0, 1)


def normalised(
    images: Float[Tensor, "b channels H W"], preprocessing: Preprocessing
) -> Float[Tensor, "b channels H W"]:
    """Images of pixels in [0, 255], normalised.

    Args:
        images: RGB, or the chosen bands.
        preprocessing: Normalisation of the model.
    """
    mean, std = (torch.from_numpy(level)[:, None, None] for level in preprocessing.levels())
    return (images - mean) / std


def to_padded_tensor(
    image: UInt8[np.ndarray, "_ _ c"], preprocessing: Preprocessing, size: Size
) -> Float32[Tensor, "c h w"]:
    """An image, normalised and padded with zeros at the bottom and right: the same numbers as `to_tensor` gives.

    Args:
        image: RGB, or the chosen bands, no larger than the size.
        preprocessing: Normalisation of the model.
        size: (height, width) of the result.
    """
    mean, std = (level[:, None, None] for level in preprocessing.levels())
    planes = np.zeros((image.shape[2], *size), np.float32)
    part = planes[:, : image.shape[0], : image.shape[1]]
    np.subtract(image.transpose(2, 0, 1), mean, out=part)
    part /= std
    return torch.from_numpy(planes)


def to_pixels(
    image: Float32[Tensor, "c H W"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "H W c"]:
    """The normalisation undone; padding, which is 0 behind it, becomes the mean colour."""
    mean, std = preprocessing.levels()
    pixels = image.permute(1, 2, 0).numpy() * std + mean
    return pixels.round().clip(0, 255).astype(np.uint8)
