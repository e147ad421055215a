"""Convolution, batch normalisation and ReLU: the brick of convolutional heads."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.errors import ConfigError


class ConvBatchNormRelu(nn.Module):
    """ReLU(BatchNorm(convolution)) at the same size.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Side of the kernel, odd.
        bias: Whether the convolution has a bias. The normalisation takes it out again; some published weights have it.
        dilation: Distance between the kernel's taps, in cells.
        groups: Groups of channels that do not see each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = False,
        dilation: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """Run it.

        Raises:
            ConfigError: In training, one image of one token: nothing to take a variance of.
        """
        x = self.conv(x)
        require_variance(self.norm, x)
        return F.relu(self.norm(x))


class SeparableConv(nn.Module):
    """A 3 x 3 convolution of every channel by itself, then a 1 x 1 of them all; normalisation and ReLU behind each.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        dilation: Of the 3 x 3 convolution, in cells.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1):
        super().__init__()
        self.depthwise = ConvBatchNormRelu(
            in_channels, in_channels, 3, dilation=dilation, groups=in_channels
        )
        self.pointwise = ConvBatchNormRelu(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """Run it; errors as of `ConvBatchNormRelu`."""
        return self.pointwise(self.depthwise(x))


def require_variance(norm: nn.Module, x: Float[Tensor, "b _ h w"]) -> None:
    """Refuse to train a batch normalisation on one value per channel.

    A norm that is synchronised over processes sees more values than these, and any other has no such limit.

    Args:
        norm: What is about to normalise `x`.
        x: Its input.

    Raises:
        ConfigError: In training, one image of one token: nothing to take a variance of.
    """
    if norm.training and isinstance(norm, nn.BatchNorm2d) and x[:, 0].numel() == 1:
        raise ConfigError(
            "batch normalisation cannot train on one image of one token, which has no variance: use a "
            "training.batch_size of 2 or more, or, unless the head pools whole images, a larger "
            "data.augment.crop_size."
        )
