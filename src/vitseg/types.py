"""Sizes, and the legend of the shapes in every signature.

`b` batch, `n` tokens, `q` queries, `c` channels, `k` classes, `k1` classes + "no object", `H W` pixels, `h w` token
grid. The parts meet at three types: a backbone gives `Features` (`features.py`), a decoder an output
(`outputs.py`), and prediction a `Segmentation` (`inference/segmentation.py`).

Sizes are used by what reads data sets, too, which is to work before torch is imported: that takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Shaped

if TYPE_CHECKING:
    from torch import Tensor

    StateDict = dict[str, Tensor]
    """Parameters and buffers by name; their shapes are the model's."""

Size = tuple[int, int]
"""(height, width)."""


def spatial_size(x: Shaped[Any, "... h w"]) -> Size:
    """(height, width) of the last two axes of a tensor."""
    return x.shape[-2], x.shape[-1]


def __getattr__(name: str) -> Any:
    if name == "StateDict":  # where it is imported from here when the program runs
        from torch import Tensor

        return dict[str, Tensor]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
