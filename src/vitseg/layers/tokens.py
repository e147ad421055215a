"""Picking tokens out of a sequence."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def take_tokens(x: Float[Tensor, "b n c"], index: Int[Tensor, "*b m"]) -> Float[Tensor, "b m c"]:
    """Rows `index` of every sequence; `index` is one list for the whole batch or one list per image."""
    if index.ndim == 1:
        return x[:, index]
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
