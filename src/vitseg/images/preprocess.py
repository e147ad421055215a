"""From an RGB array to the tensor that a model takes."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Triple = tuple[float, float, float]


class Preprocessing(BaseModel):
    """Normalisation of the input; stored with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Triple = Field(description="mean of the RGB channels, in [0, 1]")
    std: Triple = Field(description="standard deviation of the RGB channels, in [0, 1]")


def to_tensor(image: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(H, W, 3) uint8 RGB to a normalised (3, H, W) float32 tensor."""
    mean = torch.tensor(preprocessing.mean)[:, None, None] * 255
    std = torch.tensor(preprocessing.std)[:, None, None] * 255
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # (3, H, W)
    return (pixels.float() - mean) / std
