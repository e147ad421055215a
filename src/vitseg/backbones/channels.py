"""Backbones for other inputs than red, green and blue: the first convolution, inflated from the pretrained three.

With W_r, W_g and W_b its kernels of the three colours, and n channels: a channel that is red, green or blue keeps its
kernel, all others get the mean (W_r + W_g + W_b) / 3, and everything is multiplied by 3/n, so that the response to a
picture that is alike in all channels stays as it was. One channel thus gets the sum of the three kernels, as a grey
picture repeated three times does. Where none of three or more channels is known to be a colour, the first three take
the places of red, green and blue.

timm's `adapt_input_conv` repeats the three kernels over the channels, r g b r, with the same factor; its sum for one
channel is the same. Here, which band is which colour is known, and a fourth band is not red.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.errors import ConfigError

COLORS = ("red", "green", "blue")


def take_channels(backbone: nn.Module, channels: Sequence[str] | None, name: str) -> None:
    """Let a backbone of three colours take other channels, in place.

    Args:
        backbone: Built, with its weights.
        channels: What each channel is: "red", "green", "blue" or "other"; None: it stays as it is.
        name: The backbone's, for the error.

    Raises:
        ConfigError: It does not begin with one convolution over three channels.
    """
    if channels is None or tuple(channels) == COLORS:
        return
    first = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1
    ]
    if len(first) != 1:
        raise ConfigError(
            f"backbone {name} does not begin with one convolution over red, green and blue ({len(first)} were found), "
            "so it takes no other bands: choose three bands in data.bands, or another backbone."
        )
    (conv,) = first
    conv.weight = nn.Parameter(inflated(conv.weight.detach(), channels))
    conv.in_channels = len(channels)


def inflated(
    kernels: Float[Tensor, "out 3 h w"], channels: Sequence[str]
) -> Float[Tensor, "out channels h w"]:
    """Kernels for other channels, see above."""
    known = [COLORS.index(channel) if channel in COLORS else None for channel in channels]
    if len(known) >= 3 and not any(place is not None for place in known):
        known[:3] = 0, 1, 2
    mean = kernels.mean(1)
    parts = [mean if place is None else kernels[:, place] for place in known]
    return torch.stack(parts, 1) * (3 / len(channels))
