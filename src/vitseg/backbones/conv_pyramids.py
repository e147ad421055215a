"""Convolutional pyramids of timm's layers: ResNet (with ResNeXt and its other kin) and ConvNeXt.

Sources: ResNet (CVPR 2016), its v1c stem of three 3 x 3 convolutions (Bag of Tricks, CVPR 2019, section 4), ResNeXt
(CVPR 2017), ConvNeXt (CVPR 2022). Parameter names are timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from jaxtyping import Float
from timm.models.convnext import ConvNeXt, ConvNeXtStage
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from vitseg.backbones.config import PyramidConfig
from vitseg.backbones.pyramid import Pyramid
from vitseg.layers.checkpointing import run_block
from vitseg.layers.conv_norm import require_variance


class ResNetPyramid(Pyramid):
    """timm's `ResNet`: stem, max-pooling and up to four stages, `layer1` to `layer4`. Maps are the stages' own."""

    def __init__(self, net: ResNet, config: PyramidConfig):
        stages = net.feature_info[1:]  # the first is the stem, of stride 2
        widths = [int(stage["num_chs"]) for stage in stages]
        super().__init__(config, widths, [int(stage["reduction"]) for stage in stages])
        self.conv1, self.bn1, self.act1, self.maxpool = net.conv1, net.bn1, net.act1, net.maxpool
        for level in range(len(self.strides)):
            self.add_module(_layer(level), net.get_submodule(_layer(level)))
        self.freeze()

    def stage_modules(self, level: int) -> Sequence[nn.Module]:
        stem = [self.conv1, self.bn1, self.act1, self.maxpool] if level == 0 else []
        return [*stem, self.get_submodule(_layer(level))]

    def run_stage(
        self, level: int, x: Float[Tensor, "b _ _ _"], recompute: bool
    ) -> Float[Tensor, "b _ _ _"]:
        """See `Pyramid`.

        Raises:
            ConfigError: In training, the stage's map is one image of one cell: nothing to take a variance of.
        """
        if level == 0:
            x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        blocks = cast(nn.Sequential, self.get_submodule(_layer(level)))
        step = 1 if level == 0 else self.strides[level] // self.strides[level - 1]
        cells = x[:, :, ::step, ::step]  # as many as the stage's normalisations see at least
        require_variance(cast(Bottleneck, blocks[-1]).bn2, cells)
        for block in blocks:
            x = run_normalised_block(block, x, recompute)
        return x


def _layer(level: int) -> str:
    return f"layer{level + 1}"


class ConvNeXtPyramid(Pyramid):
    """timm's `ConvNeXt`, with a LayerNorm on every map as segmentation has it; timm's final norm is not used."""

    def __init__(self, net: ConvNeXt, config: PyramidConfig):
        widths = [int(stage["num_chs"]) for stage in net.feature_info]
        strides = [int(stage["reduction"]) for stage in net.feature_info]
        super().__init__(config, widths, strides, normalised=True)
        self.stem = net.stem
        self.stages = net.stages[: len(self.strides)]
        self.freeze()

    def stage_modules(self, level: int) -> Sequence[nn.Module]:
        return [*([self.stem] if level == 0 else []), self.stages[level]]

    def run_stage(
        self, level: int, x: Float[Tensor, "b _ _ _"], recompute: bool
    ) -> Float[Tensor, "b _ _ _"]:
        if level == 0:
            x = self.stem(x)
        stage = cast(ConvNeXtStage, self.stages[level])
        x = stage.downsample(x)
        for block in stage.blocks:
            x = run_block(block, x, recompute=recompute)
        return x


def run_normalised_block(
    block: nn.Module, x: Float[Tensor, "b _ _ _"], recompute: bool
) -> Float[Tensor, "b _ _ _"]:
    """The output of a block with batch normalisations.

    Args:
        block: What is run.
        x: Its input.
        recompute: Keep no activations for the backward pass, which computes them again. The running statistics move
            in the first pass alone, so that they are those of a training that keeps its activations.
    """
    if not recompute:
        return block(x)
    contexts = (nullcontext(), _StatisticsKept(block))
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: contexts)


class _StatisticsKept(AbstractContextManager):
    """Within it, batch normalisations in training normalise as ever but leave their running statistics."""

    def __init__(self, block: nn.Module):
        self.norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]

    def __enter__(self) -> None:
        # Without statistics at all, autograd would miss tensors of the first pass.
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, counter) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter
