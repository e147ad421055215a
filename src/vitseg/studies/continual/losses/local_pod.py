"""PLOP's distillation of feature maps: their means along rows and columns, at several scales.

Source: Douillard et al., "PLOP: Learning without Forgetting for Continual Semantic Segmentation" (CVPR 2021),
equations 2 to 6 (Local POD). The paper divides a map into s x s regions and takes in each the means over its width and
over its height; side by side, those of all regions are the map pooled to s columns and to s rows.

What the paper leaves open: how to divide sides that are no multiple of s (here regions may share a row or a column, as
in adaptive pooling), and the scale of the features (here they are not normalised). Where we differ: the equations
square the norm. On a ViT the square is so large, from drop path alone, that with the paper's weights it outweighs the
cross-entropy by far; the norm itself is the default, and `squared` is the equations' form.
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
    squared: bool = False,
) -> Float[Tensor, ""]:
    """L2 distance of the pooled embeddings of all scales, a mean over maps and images.

    Args:
        maps: Feature maps of the model that is trained.
        old_maps: The earlier model's maps, of the same shapes.
        scales: Regions per side.
        squared: Take the square of each distance.
    """
    distances = torch.stack(
        [
            torch.linalg.vector_norm(_embedding(new.float() - old.float(), scales), dim=1)
            for new, old in zip(maps, old_maps, strict=True)
        ]
    )  # (maps, b)
    return (distances.square() if squared else distances).mean()


def _embedding(x: Float[Tensor, "b c h w"], scales: Sequence[int]) -> Float[Tensor, "b n"]:
    """Means along rows and columns in the regions of all scales, side by side."""
    height, width = spatial_size(x)
    parts = []
    for scale in scales:
        parts.append(F.adaptive_avg_pool2d(x, (height, scale)).flatten(1))  # over widths
        parts.append(F.adaptive_avg_pool2d(x, (scale, width)).flatten(1))  # over heights
    return torch.cat(parts, dim=1)
