"""Features and layers as plain functions, to hold convolutional decoders against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitseg.features import Features

CHANNELS, GRIDS = (6, 8, 10), ((16, 24), (4, 6), (2, 3))
"""Of maps at strides 4, 16 and 32."""


def features_of(grids=GRIDS, batch: int = 2, padded_size=(64, 96)) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(batch, channels, *grid, generator=generator)
        for channels, grid in zip(CHANNELS, grids, strict=True)
    ]
    return Features(tuple(maps), padded_size, padded_size)


def with_statistics(module: nn.Module) -> nn.Module:
    """The module in evaluation, with statistics of its normalisations that matter."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in module.named_buffers():
        noise = torch.rand(buffer.shape, generator=generator)
        if name.endswith("running_mean"):
            buffer.copy_(0.2 * noise - 0.1)
        if name.endswith("running_var"):
            buffer.copy_(0.5 + noise)
    return module.eval()


def conv_norm_relu(x: Tensor, state: dict[str, Tensor], name: str, dilation: int = 1) -> Tensor:
    """`ConvBatchNormRelu` by the names of its parameters; grouped where the kernel has one input channel."""
    weight = state[f"{name}.conv.weight"]
    groups = x.shape[1] // weight.shape[1]
    padding = dilation * (weight.shape[-1] // 2)
    x = F.conv2d(x, weight, None, 1, padding, dilation, groups)
    mean, var, scale, shift = (
        state[f"{name}.norm.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, scale, shift).relu()


def separable(x: Tensor, state: dict[str, Tensor], name: str, dilation: int = 1) -> Tensor:
    depthwise = conv_norm_relu(x, state, f"{name}.depthwise", dilation)
    return conv_norm_relu(depthwise, state, f"{name}.pointwise")


def resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def classifier(x: Tensor, state: dict[str, Tensor], name: str = "classifier") -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def pooling(x: Tensor, state: dict[str, Tensor], name: str, dilations, conv) -> Tensor:
    """ASPP whose dilated branches are `conv`."""
    mean = conv_norm_relu(F.adaptive_avg_pool2d(x, 1), state, f"{name}.pooled")
    branches = [resize(mean, x), conv_norm_relu(x, state, f"{name}.point")]
    branches += [conv(x, state, f"{name}.dilated.{i}", d) for i, d in enumerate(dilations)]
    return conv_norm_relu(torch.cat(branches, 1), state, f"{name}.bottleneck")
