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
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = False):
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """Run it.

        Raises:
            ConfigError: In training, one image of one token: nothing to take a variance of.
        """
        x = self.conv(x)
        require_variance(self.norm, x)
        return F.relu(self.norm(x))


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
