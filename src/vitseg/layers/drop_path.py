"""Stochastic depth, also where the images of a batch are packed into one sequence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from timm.layers import drop_path
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, drops a residual branch for whole images and scales the others up."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(
        self, x: Float[Tensor, "b n c"], lengths: tuple[int, ...] | None = None
    ) -> Float[Tensor, "b n c"]:
        """The branch, with some images set to zero.

        Args:
            x: The branch; packed (b = 1) where `lengths` is given.
            lengths: Tokens of each packed image.
        """
        if self.rate == 0 or not self.training:
            return x
        if lengths is None:
            return drop_path(x, self.rate, training=True)
        kept = x.new_empty(len(lengths)).bernoulli_(1 - self.rate) / (1 - self.rate)
        counts = torch.tensor(lengths, device=x.device)
        return x * kept.repeat_interleave(counts)[:, None]  # (n, 1)
