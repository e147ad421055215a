"""FaPN's step down a feature pyramid: channels of the finer map are selected, the coarser map is aligned with it.

Source: FaPN (ICCV 2021), sections 3.1 and 3.2, with modulated deformable convolution (DCNv2, CVPR 2019). The paper
leaves open in how many groups points move, and how wide their features are: 8, and as wide as a map. With these the
model has the parameters that are published for it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from vitseg.layers import products
from vitseg.layers.resize import resize_map
from vitseg.layers.transformer_init import init_convolutions

KERNEL = 3
POINT_GROUPS = 8
"""Groups of channels that each have points of their own."""


class AlignedStep(nn.Module):
    """The finer map, selected, plus the coarser one, aligned with it; then convolution, group norm and ReLU.

    Args:
        in_channels: Width of the finer map.
        width: Of the coarser one and of the result, a multiple of 64.
    """

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.select = FeatureSelection(in_channels, width)
        self.align = FeatureAlignment(width)
        self.out = nn.Sequential(
            nn.Conv2d(width, width, KERNEL, padding=1, bias=False),
            nn.GroupNorm(32, width),
            nn.ReLU(),
        )
        init_convolutions(self.out)

    def forward(
        self, fine: Float[Tensor, "b _ h w"], coarse: Float[Tensor, "b c _ _"]
    ) -> Float[Tensor, "b c h w"]:
        """Of two maps, the first of higher resolution."""
        selected = self.select(fine)
        raised = resize_map(coarse, (fine.shape[2], fine.shape[3]))
        return self.out(selected + self.align(selected, raised))


class FeatureSelection(nn.Module):
    """f_s(x + u x): u says how much each channel of the image matters (eq. 1 and 2), f_s is a 1 x 1 convolution."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.importance = nn.Conv2d(in_channels, in_channels, 1, bias=False)
        self.project = nn.Sequential(
            nn.Conv2d(in_channels, width, 1, bias=False), nn.GroupNorm(32, width)
        )
        init_convolutions(self)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b c h w"]:
        """Run it."""
        importance = self.importance(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.project(x + importance * x)


class FeatureAlignment(nn.Module):
    """A deformable convolution of the coarser map, whose points both maps together move (eq. 3).

    At the start points lie on the grid and have half their weight.
    """

    def __init__(self, width: int):
        super().__init__()
        self.join = nn.Conv2d(2 * width, width, 1, bias=False)
        points = POINT_GROUPS * KERNEL**2
        self.move = nn.Conv2d(width, 3 * points, KERNEL, padding=1)
        self.conv = DeformConv2d(width, width, KERNEL, padding=1)
        self.act = nn.ReLU()
        init_convolutions(self.join)
        nn.init.zeros_(self.move.weight)
        assert self.move.bias is not None
        nn.init.zeros_(self.move.bias)

    def forward(
        self, fine: Float[Tensor, "b c h w"], coarse: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """The coarser map, brought to the size of the finer one before, where the finer one has its contours."""
        moved = self.move(self.join(torch.cat([fine, coarse], dim=1)))
        offsets, weights = moved.tensor_split([2 * moved.shape[1] // 3], dim=1)
        # Convolutions return half precision in mixed training, which the operator has not on every device.
        dtype = self.conv.weight.dtype
        inputs = coarse.to(dtype), offsets.to(dtype), weights.sigmoid().to(dtype)
        if products.are_asked():
            return self.act(convolve_at_points(*inputs, self.conv))
        return self.act(self.conv(*inputs))


def convolve_at_points(
    x: Float[Tensor, "b c h w"],
    offsets: Float[Tensor, "b o h w"],
    weights: Float[Tensor, "b p h w"],
    conv: DeformConv2d,
) -> Float[Tensor, "b d h w"]:
    """The modulated `DeformConv2d` with stride 1, as samples of the map and a matrix product.

    Args:
        x: The map.
        offsets: By how much each point moves: of every group and place of the kernel, (down, right).
        weights: Of the points.
        conv: The layer.
    """
    height, width = x.shape[2], x.shape[3]
    points = POINT_GROUPS, KERNEL**2
    down, right = offsets.unflatten(1, (*points, 2)).unbind(3)  # (b, groups, places, h, w)
    place = torch.arange(KERNEL**2, device=x.device)[:, None, None]
    row = torch.arange(height, device=x.device)[:, None] + place // KERNEL - KERNEL // 2
    column = torch.arange(width, device=x.device) + place % KERNEL - KERNEL // 2
    grid = torch.stack(
        [(2 * (right + column) + 1) / width - 1, (2 * (down + row) + 1) / height - 1], -1
    )
    found = F.grid_sample(
        x.unflatten(1, (POINT_GROUPS, -1)).flatten(0, 1),
        grid.flatten(0, 1).flatten(1, 2),  # (b*groups, places*h, w, 2)
        align_corners=False,
    )  # (b*groups, c/groups, places*h, w)
    found = found.unflatten(2, (KERNEL**2, height)).unflatten(0, (-1, POINT_GROUPS))
    found = found * weights.unflatten(1, points)[:, :, None]  # (b, groups, c/groups, places, h, w)
    summed = torch.einsum("dcp,bcphw->bdhw", conv.weight.flatten(2), found.flatten(1, 2))
    return summed if conv.bias is None else summed + conv.bias[:, None, None]
