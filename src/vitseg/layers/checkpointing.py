"""Gradient checkpointing: memory for time."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, *args: object, recompute: bool) -> Float[Tensor, "..."]:
    """A block's output.

    Args:
        block: What is run.
        args: Its arguments.
        recompute: Keep no activations for the backward pass, which computes them again.
    """
    if recompute:
        return checkpoint(block, *args, use_reentrant=False)
    return block(*args)
