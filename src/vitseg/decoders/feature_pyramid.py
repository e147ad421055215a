"""A pyramid made of a plain ViT's maps, which all have one size.

Sources: ViTDet (ECCV 2022), section 3, the simple feature pyramid of the last map; BEiT (ICLR 2022), appendix on
semantic segmentation, which takes the maps of four depths instead. Both make strides 4, 8, 16 and 32 of a patch of 16
by transposed convolutions of stride 2 and by pooling; the layers are BEiT's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers.conv_norm import require_variance
from vitseg.layers.grid import whole_cells

NUM_LEVELS = 4


class SimpleFeaturePyramid(nn.Module):
    """Maps of one size to maps of 4, 2, 1 and 1/2 times that size, of the same width.

    Args:
        in_channels: Width of the maps: of four, shallow to deep, or of one, from which all levels are made then.
    """

    def __init__(self, in_channels: Sequence[int]):
        super().__init__()
        assert len(in_channels) in (1, NUM_LEVELS)
        widths = list(in_channels) if len(in_channels) == NUM_LEVELS else [*in_channels] * 4
        self.channels = tuple(widths)
        self.first_up = _doubling(widths[0])
        self.first_norm = nn.BatchNorm2d(widths[0])
        self.first_act = nn.GELU()
        self.first_up_again = _doubling(widths[0])
        self.second_up = _doubling(widths[1])

    def forward(
        self, maps: Sequence[Float[Tensor, "b _ h w"]]
    ) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The levels, fine to coarse."""
        first, second, third, fourth = maps if len(maps) == NUM_LEVELS else [*maps] * 4
        doubled = self.first_up(first)
        require_variance(self.first_norm, doubled)
        finest = self.first_up_again(self.first_act(self.first_norm(doubled)))
        return finest, self.second_up(second), third, _halved(fourth)


def _doubling(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)


def _halved(x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c h w"]:
    """The largest of every 2 x 2 cells; an odd map keeps its last row and column, so that even one cell is left.

    As pooling with `ceil_mode`, which OpenVINO has not for maps that are smaller than the kernel.
    """
    down, right = (2 * whole_cells(side, 2) - side for side in x.shape[2:])
    return F.max_pool2d(F.pad(x, (0, right, 0, down), mode="replicate"), 2)
