"""How much each pixel of a window counts where windows overlap."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.inference.options import Blend
from vitseg.types import Size


def window_weights(crop_size: Size, kind: Blend) -> Float[Tensor, "h w"]:
    """Weight of every pixel of a window: symmetric, strictly positive, at most 1, and 1 in the middle.

    - "mean": 1 everywhere, the plain average of the papers' sliding window.
    - "cosine": the raised cosine (Hann window) of both axes, sampled at pixel centres, so that a window fades out
      towards its border, where the model sees least context, and no seam shows.

    Args:
        crop_size: (height, width) of the window in pixels.
        kind: One of the two.
    """
    if kind == "mean":
        return torch.ones(crop_size)
    return torch.outer(_raised_cosine(crop_size[0]), _raised_cosine(crop_size[1]))


def _raised_cosine(length: int) -> Float[Tensor, " n"]:
    centres = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    weights = (math.pi * centres).sin().square()
    weights = (weights + weights.flip(0)) / 2  # the sine itself is symmetric only up to rounding
    return (weights / weights.max()).float()
