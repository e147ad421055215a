"""PLOP's distillation of feature maps: their means along rows and columns, at several scales.

Source: Douillard et al., "PLOP: Learning without Forgetting for Continual Semantic Segmentation" (CVPR 2021),
equations 2 to 6 (Local POD). The paper divides a map into s x s regions and takes in each the means over its width and
over its height; side by side, those of all regions are the map pooled to s columns and to s rows.

What the paper leaves open: how to divide sides that are no multiple of s (here regions may share a row or a column, as
in adaptive pooling), and any normalisation of the features (here none: the sum over all entries is that of the
equation, so that the loss grows with size and width of the maps).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitseg.types import spatial_size

SCALES = (1, 2, 4)
"""Regions per side, the paper's 1, 1/2 and 1/4."""


def local_pod(
    maps: Sequence[Float[Tensor, "b _ _ _"]],
    old_maps: Sequence[Float[Tensor, "b _ _ _"]],
    scales: Sequence[int] = SCALES,
) -> Float[Tensor, ""]:
    """Squared L2 distance of the pooled embeddings, a mean over maps and images.

    Args:
        maps: Those of the model that is trained.
        old_maps: Those of the earlier model, of the same shapes.
        scales: Regions per side.
    """
    distances = [
        sum(_distance(new.float(), old.float(), scale) for scale in scales)
        for new, old in zip(maps, old_maps, strict=True)
    ]
    return torch.stack([torch.as_tensor(distance) for distance in distances]).mean()


def _distance(new: Tensor, old: Tensor, scale: int) -> Tensor:
    """Of one scale, a mean over images; pooling is linear, so the difference is pooled once."""
    difference = new - old
    height, width = spatial_size(difference)
    over_width = F.adaptive_avg_pool2d(difference, (height, scale))  # (b, c, h, s)
    over_height = F.adaptive_avg_pool2d(difference, (scale, width))  # (b, c, s, w)
    return (over_width.square().sum() + over_height.square().sum()) / len(difference)
