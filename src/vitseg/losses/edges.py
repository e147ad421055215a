"""The edge loss of the edge-aware Shrunk structure: which tokens hold a boundary between classes.

Source: thesis section 4.2.2, eq. 4.6 and the cross-entropy below it. No reference code exists. What the text leaves
open, and what we chose:

- An edge pixel is one with another class within `width` pixels of it, horizontally or vertically. At width 1 both sides
  of every boundary are edges, so a boundary between two patches marks both.
- Pixels with the ignore label belong to no class and make no boundary; a token of ignored pixels alone has no target.
- The terms of both kinds of tokens weigh alike (plain mean): photos of street or room have boundaries in a third to a
  half of their tokens, so nothing has to be balanced.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.whole_step import mean_over_step, step_labels
from vitseg.outputs import SegOutput
from vitseg.supervision import EdgeLossConfig
from vitseg.types import Size, spatial_size


class EdgeLoss(nn.Module):
    """`edge_loss` as a module, of the extra "edges"."""

    def __init__(self, config: EdgeLossConfig):
        super().__init__()
        self.config = config

    def forward(
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """`loss_edges`; see `edge_loss`."""
        return {"loss_edges": edge_loss(output, labels, self.config)}


def edge_loss(
    output: SegOutput, labels: Int[Tensor, "b H W"], config: EdgeLossConfig
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy of the tokens' edge logits; 0 where nothing is labelled.

    Args:
        output: Of the edge head: logits (no edge, edge) over the token grid.
        labels: Class indices or IGNORE_INDEX, at the size of the images.
        config: See `EdgeLossConfig`.
    """
    padded_size, grid = output.padded_size, spatial_size(output.mask_logits)
    targets = edge_tokens(labels, padded_size, grid, config)
    terms = F.cross_entropy(
        output.mask_logits.float(), targets, ignore_index=IGNORE_INDEX, reduction="sum"
    )
    whole = step_labels(labels)
    counted = _tokens_with(whole != IGNORE_INDEX, padded_size, grid).sum()
    count = mean_over_step(counted, labels, whole, at_least=1.0)
    return config.weight * terms / count


def edge_tokens(
    labels: Int[Tensor, "b H W"], padded_size: Size, grid: Size, config: EdgeLossConfig
) -> Int[Tensor, "b h w"]:
    """1 for tokens with an edge pixel (eq. 4.6), 0 for others, IGNORE_INDEX for those without a labelled pixel."""
    labelled = labels != IGNORE_INDEX
    is_edge = _tokens_with(edge_pixels(labels, config.width), padded_size, grid)
    has_label = _tokens_with(labelled, padded_size, grid)
    return is_edge.long().masked_fill(~has_label, IGNORE_INDEX)


def edge_pixels(labels: Int[Tensor, "b H W"], width: int) -> Bool[Tensor, "b H W"]:
    """Pixels with another class within `width` pixels, horizontally or vertically."""
    edges = labels.new_zeros(labels.shape).bool()
    for axis in (1, 2):
        length = labels.shape[axis]
        for distance in range(1, min(width, length - 1) + 1):
            first = labels.narrow(axis, 0, length - distance)
            second = labels.narrow(axis, distance, length - distance)
            differ = (first != second) & (first != IGNORE_INDEX) & (second != IGNORE_INDEX)
            edges.narrow(axis, 0, length - distance).logical_or_(differ)
            edges.narrow(axis, distance, length - distance).logical_or_(differ)
    return edges


def _tokens_with(
    pixels: Bool[Tensor, "b H W"], padded_size: Size, grid: Size
) -> Bool[Tensor, "b h w"]:
    """Tokens with at least one of these pixels."""
    patch = (padded_size[0] // grid[0], padded_size[1] // grid[1])
    down, right = padded_size[0] - pixels.shape[1], padded_size[1] - pixels.shape[2]
    padded = F.pad(pixels.float(), (0, right, 0, down))
    return F.max_pool2d(padded, patch).bool()
