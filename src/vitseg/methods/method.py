"""What a method declares: the sections of its recipe, how its parts are wired, and what the house must know of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones import AnyBackboneConfig, PlainViT, Pyramid, Swin, create_backbone
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import PixelLossConfig
from vitseg.types import Size, StateDict

Encoder = PlainViT | Swin | Pyramid

Explainer = Literal["stages", "exits", "cells", "tasks"]
"""Files of `explain/`."""


class MethodConfig(BaseModel):
    """A method's configuration: its fields are the sections of a recipe.

    A method says how its decoder is made (`make_decoder`), or wires backbone and decoder itself (`build_on`), and what
    it is trained by (`criterion`).

    Attributes:
        block_fields: Fields that count blocks of a plain ViT, each by section and name; `backbone.taps` is one always.
        fresh_parts: Beginnings of the names of parameters that start from random weights: they learn at the decoder's
            rate.
        old_names: (pattern, replacement) of parameter names in model directories of format 1.
        explainer: The file of `explain/` that shows how such a model comes to its labels; None: there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    fresh_parts: ClassVar[tuple[str, ...]] = ("decoder.",)
    old_names: ClassVar[tuple[tuple[str, str], ...]] = ()
    explainer: ClassVar[Explainer | None] = None

    backbone: AnyBackboneConfig

    @property
    def has_static_tokens(self) -> bool:
        """Whether the number of tokens follows from the size of the images alone."""
        return True

    @property
    def learns_absence(self) -> bool:
        """Whether the loss learns from an image without any label: that no class is in it."""
        return False

    def build(
        self, num_classes: int, image_size: Size, load_pretrained: bool = True
    ) -> SegmentationModel:
        """The model.

        Args:
            num_classes: Classes.
            image_size: (height, width) of the training images in pixels; absolute position embeddings and learned
                queries of a grid are stored for it.
            load_pretrained: False builds the architecture alone, for weights from a model directory.

        Raises:
            ConfigError: A part does not fit another.
            CheckpointError: The pretrained weights cannot be had or do not fit.
        """
        encoder = create_backbone(self.backbone, image_size, load_pretrained)
        return self.build_on(encoder, num_classes, image_size)

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        """The model on an encoder; see `build`."""
        del image_size
        decoder = self.make_decoder(encoder.channels, num_classes)
        return SegmentationModel(encoder, decoder, self.fresh_parts)

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        """The decoder of features of these widths, shallow to deep."""
        raise NotImplementedError

    def criterion(self, class_weights: Float[Tensor, " k"] | None = None) -> nn.Module:
        """The loss: (output, labels) to weighted terms by name. Its module is imported here, for training alone.

        Args:
            class_weights: (k,) weight of every class; None: all alike.
        """
        raise NotImplementedError

    def prunable(self, state: StateDict) -> tuple[MethodConfig, StateDict] | None:
        """A model with these parameters as one whose tokens can leave early: its configuration and parameters.

        None: no head of such a model judges single tokens in front of the last block.

        Raises:
            ConfigError: This method has such heads, but this model's see more than a token each.
        """
        del state
        return None


class PixelMethod(MethodConfig):
    """A method that is trained by the cross-entropy of its pixels."""

    loss: PixelLossConfig = Field(
        default=PixelLossConfig(),
        description="cross-entropy of the pixels, and the weight of that of auxiliary heads",
    )

    def criterion(self, class_weights: Float[Tensor, " k"] | None = None) -> nn.Module:
        from vitseg.losses.cross_entropy import PixelLoss

        return PixelLoss(self.loss, class_weights)
