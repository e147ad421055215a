"""Sizes, and the legend of the shapes in every signature.

`b` batch, `n` tokens, `q` queries, `c` channels, `k` classes, `k1` classes + "no object", `H W` pixels, `h w` token
grid. The parts meet at three types: a backbone gives `Features` (`features.py`), a decoder an output
(`outputs.py`), and prediction a `Segmentation` (`inference/segmentation.py`).
"""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

Size = tuple[int, int]
"""(height, width)."""

StateDict = dict[str, Tensor]
"""Parameters and buffers by name; their shapes are the model's."""


def spatial_size(x: Shaped[Tensor, "... h w"]) -> Size:
    """(height, width) of the last two axes."""
    return x.shape[-2], x.shape[-1]
