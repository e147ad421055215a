"""What pyramid backbones have in common: padding, stages one after the other, stages that are not trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitseg.backbones.config import PyramidConfig
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.layers.grid import whole_cells
from vitseg.types import Size, spatial_size


class Pyramid(nn.Module, ABC):
    """A backbone of stages. Built by `create_backbone`; stages below the deepest level are not built.

    Its kinds name their layers as the library does that they come from, take apart in `stage_modules` what they
    consist of, and call `freeze` when all layers are there. (`Swin` has a padding rule of its own and is none.)

    Args:
        config: Which levels are returned, which stages are trained.
        widths: Channels of every stage of the whole model.
        strides: Their strides in pixels.
        normalised: Whether every returned map gets a LayerNorm of its own; it is new, whatever the weights are.
        multiple: The image is padded to whole multiples of this, in pixels; None: of the deepest level's stride.

    Attributes:
        channels: Width of each returned map.
        norms: What is applied to each returned map, by its level.

    Raises:
        ConfigError: `levels` or `frozen_stages` name a stage that is not there.
    """

    def __init__(
        self,
        config: PyramidConfig,
        widths: Sequence[int],
        strides: Sequence[int],
        normalised: bool = False,
        multiple: int | None = None,
    ):
        super().__init__()
        deepest = config.levels[-1]
        if deepest >= len(widths):
            raise ConfigError(
                f"backbone.levels names stage {deepest}, but {config.name} has stages 0-{len(widths) - 1}."
            )
        if config.frozen_stages > deepest + 1:
            raise ConfigError(
                f"backbone.frozen_stages is {config.frozen_stages}, but backbone.levels reads no further than stage "
                f"{deepest}: at most {deepest + 1} stages can be frozen."
            )
        self.config = config
        self.strides = tuple(strides[: deepest + 1])
        self.multiple = multiple or self.strides[-1]
        self.channels = tuple(widths[level] for level in config.levels)
        make_norm = LayerNorm2d if normalised else nn.Identity
        self.norms = nn.ModuleDict(
            {
                str(level): make_norm(width)
                for level, width in zip(config.levels, self.channels, strict=True)
            }
        )

    @abstractmethod
    def stage_modules(self, level: int) -> Sequence[nn.Module]:
        """All that a stage consists of; what lies before the stages belongs to stage 0."""

    @abstractmethod
    def run_stage(
        self, level: int, x: Float[Tensor, "b _ _ _"], recompute: bool
    ) -> Float[Tensor, "b _ _ _"]:
        """The map of a stage.

        Args:
            level: Its number.
            x: The map of the stage before; of stage 0, the padded images.
            recompute: Trade time for memory in the backward pass.
        """

    def pretrained_modules(self) -> Iterator[nn.Module]:
        """Its modules but for the norms of its levels, which no pretrained weights have."""
        return (module for name, module in self.named_children() if name != "norms")

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Features:
        """The maps of the levels.

        Images are padded with zeros on the bottom and right, so that every map covers the same `padded_size`: its own
        size times its stride. Where that is not wanted (`pads` of a `MixTransformer`), all maps are of the image as it
        is, and are taken to cover it.

        Args:
            images: Normalised images of any height and width.
        """
        size = spatial_size(images)
        down, right = self.padding(size)
        x = F.pad(images, (0, right, 0, down))
        padded_size = spatial_size(x)
        recompute = self.config.gradient_checkpointing and self.training
        maps = []
        for level, stride in enumerate(self.strides):
            is_trained = level >= self.config.frozen_stages
            x = self.run_stage(level, x, recompute=recompute and is_trained)
            height, width = spatial_size(x)
            assert self.is_covered(padded_size, (height, width), stride)
            if level in self.config.levels:
                maps.append(self.norms[str(level)](x))
        return Features(tuple(maps), size, padded_size)

    def padding(self, size: Size) -> Size:
        """Rows and columns of zeros that are added to images of a size."""
        down, right = (whole_cells(side, self.multiple) * self.multiple - side for side in size)
        return down, right

    def is_covered(self, padded_size: Size, grid: Size, stride: int) -> bool:
        """Whether a map covers the padded image."""
        return (grid[0] * stride, grid[1] * stride) == padded_size

    def train(self, mode: bool = True) -> Pyramid:
        """As of every module, but frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def freeze(self) -> None:
        """Let no gradient be taken of the frozen stages, and nothing in them depend on training."""
        for module in self._frozen_modules():
            module.requires_grad_(False).eval()

    def _frozen_modules(self) -> list[nn.Module]:
        levels = range(self.config.frozen_stages)
        return [module for level in levels for module in self.stage_modules(level)]
