"""From an RGB array to the tensor that a model takes."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from vitseg.images.value_range import ValueRange

Triple = tuple[float, float, float]


class Preprocessing(BaseModel):
    """How pixels become numbers; stored with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Triple = Field(description="mean of the RGB channels, in [0, 1]")
    std: Triple = Field(description="standard deviation of the RGB channels, in [0, 1]")
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="values that are black and white in images of more than 8 bits; None: as each file states, else by "
        "its own values",
    )

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

    @property
    def limits(self) -> ValueRange | None:
        """The value range for the readers."""
        return None if self.value_range is None else ValueRange(*self.value_range)


def to_tensor(image: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(H, W, 3) uint8 RGB to a normalised (3, H, W) float32 tensor."""
    mean = torch.tensor(preprocessing.mean)[:, None, None] * 255
    std = torch.tensor(preprocessing.std)[:, None, None] * 255
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # (3, H, W)
    return (pixels.float() - mean) / std
