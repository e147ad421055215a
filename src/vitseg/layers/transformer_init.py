"""How transformer decoders of queries, and the convolutions in front of them, start.

Source: DETR (ECCV 2020), appendix A.4 (Xavier initialisation) and Deformable DETR (ICLR 2021), appendix A.4; FPN's
convolutions as in its detectors. The transformers library starts its layers within whole models only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def init_transformer(module: nn.Module) -> None:
    """Xavier-uniform matrices; biases of linear layers are left as they are."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def init_attention(*projections: nn.Module) -> None:
    """Linear layers of queries, keys, values and outputs: Xavier-uniform, no bias at the start."""
    for projection in projections:
        assert isinstance(projection, nn.Linear)
        nn.init.xavier_uniform_(projection.weight)
        nn.init.zeros_(projection.bias)


def init_convolutions(module: nn.Module) -> None:
    """Of a feature pyramid: variance 1 / fan-in, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def init_deformable(
    offsets: nn.Linear, weights: nn.Linear, num_heads: int, num_levels: int
) -> None:
    """Points that a token attends to at the start: all weigh the same, and each head looks its own way.

    Point i of a head lies i + 1 cells away, in one of as many directions as there are heads, along the larger of the
    two axes.

    Args:
        offsets: To (x, y) of every point, ordered by head, level and point.
        weights: To the score of every point.
        num_heads: Heads.
        num_levels: Maps that are looked at.
    """
    angles = torch.arange(num_heads) * (2 * math.pi / num_heads)
    ways = torch.stack([angles.cos(), angles.sin()], -1)
    ways = ways / ways.abs().amax(-1, keepdim=True)  # (heads, 2)
    num_points = offsets.out_features // (2 * num_heads * num_levels)
    steps = torch.arange(1, num_points + 1)
    bias: Tensor = ways[:, None, None] * steps[:, None]  # (heads, 1, points, 2)
    offsets.bias.copy_(bias.expand(-1, num_levels, -1, -1).flatten())
    for parameter in (offsets.weight, weights.weight, weights.bias):
        nn.init.zeros_(parameter)
