"""Maps in windows, row by row, and back."""

from __future__ import annotations

from jaxtyping import Float, Shaped
from torch import Tensor

from vitseg.layers.grid import whole_cells
from vitseg.types import Size


def padded_to_windows(size: Size, window: Size) -> Size:
    """The smallest size of whole windows that covers a map."""
    height, width = (whole_cells(*side) * side[1] for side in zip(size, window, strict=True))
    return height, width


def to_windows(x: Shaped[Tensor, "b H W c"], window: Size) -> Shaped[Tensor, "b w n c"]:
    """A map of whole windows by window, row by row."""
    height, width = window
    windows = x.unflatten(2, (-1, width)).unflatten(1, (-1, height))  # (b, rows, h, columns, w, c)
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(
    windows: Float[Tensor, "b w n c"], size: Size, window: Size
) -> Float[Tensor, "b H W c"]:
    """The inverse of `to_windows` for a map of this size."""
    x = windows.unflatten(1, (-1, size[1] // window[1])).unflatten(3, window)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
