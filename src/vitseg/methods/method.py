"""What a method declares: the sections of its recipe, how its parts are wired, and what the house must know of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones import AnyBackboneConfig, PlainViT, Pyramid, Swin, create_backbone
from vitseg.methods.model import SegmentationModel
from vitseg.supervision import AtmLossConfig, PixelLossConfig, SetPredictionLossConfig
from vitseg.types import Size, StateDict

Encoder = PlainViT | Swin | Pyramid
ClassWeights = Float[Tensor, " k"]

Explainer = Literal["stages", "exits", "cells", "tasks"]
"""Files of `explain/`."""


class MethodConfig(BaseModel):
    """A method's configuration: its fields are the sections of a recipe.

    A method says how its decoder is made (`make_decoder`) and what it adds to the backbone (`extend_encoder`), or wires
    the two itself (`build_on`), and what it is trained by (`output_loss`, `extra_losses`).

    Attributes:
        block_fields: Fields that count blocks of a plain ViT, each by section and name; `backbone.taps` is one always.
        movable_fields: Fields by which predictions are made and that a training may change of the model it starts from.
        fresh_parts: Beginnings of the names of parameters that learn at the decoder's rate. What a method adds within
            the backbone (`halve`, `semantic`, `shrink`) starts from random weights, too, but learns at the backbone's,
            as in the papers' code, where the rate of heads alone is multiplied; `optimizer.lr_ratios` may change that.
        old_names: (pattern, replacement) of parameter names in model directories of format 1.
        explainer: The file of `explain/` that shows how such a model comes to its labels; None: there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    movable_fields: ClassVar[tuple[str, ...]] = ()
    fresh_parts: ClassVar[tuple[str, ...]] = ("decoder.",)
    old_names: ClassVar[tuple[tuple[str, str], ...]] = ()
    explainer: ClassVar[Explainer | None] = None

    backbone: AnyBackboneConfig

    @property
    def has_static_tokens(self) -> bool:
        """Whether the number of tokens follows from the size of the images alone."""
        return True

    @property
    def packs_images(self) -> bool:
        """Whether tokens of several images run as one sequence, so that a graph holds for one number of images."""
        return not self.has_static_tokens

    def unpruned(self) -> MethodConfig | None:
        """The same model, of the same parameters, with all tokens kept; None: it has no such form."""
        return self if self.has_static_tokens else None

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
        self.extend_encoder(encoder, num_classes)
        decoder = self.make_decoder(encoder.channels, num_classes)
        return SegmentationModel(encoder, decoder, self.fresh_parts)

    def extend_encoder(self, encoder: Encoder, num_classes: int) -> None:
        """Change an encoder, in place, into the method's own."""

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        """The decoder of features of these widths, shallow to deep."""
        raise NotImplementedError

    def criterion(self, class_weights: ClassWeights | None = None) -> nn.Module:
        """The loss: (output, labels) to weighted terms by name. Losses are imported here, for training alone.

        Args:
            class_weights: (k,) weight of every class; None: all alike.
        """
        loss, extras = self.output_loss(class_weights), self.extra_losses(class_weights)
        if not extras:
            return loss
        from vitseg.losses.extras import WithExtras

        return WithExtras(loss, extras)

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        """The loss of an output, its stages, and those extras that have no loss of their own; see `criterion`."""
        raise NotImplementedError

    def extra_losses(self, class_weights: ClassWeights | None) -> dict[str, nn.Module]:
        """Losses of the extras that have one of their own, by name; see `criterion`."""
        del class_weights
        return {}

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

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        from vitseg.losses.cross_entropy import PixelLoss

        return PixelLoss(self.loss, class_weights)


class AtmMethod(MethodConfig):
    """A method whose queries are classes, each with its mask."""

    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="what is supervised, and the weights of the terms"
    )

    @property
    def learns_absence(self) -> bool:
        return self.loss.learns_absence

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        from vitseg.losses.atm import AtmLoss

        return AtmLoss(self.loss, class_weights)


class MatchedMethod(MethodConfig):
    """A method whose queries are matched with the classes of an image."""

    loss: SetPredictionLossConfig = Field(
        default=SetPredictionLossConfig(), description="weights of the matched losses"
    )

    @property
    def learns_absence(self) -> bool:
        return True  # by the class loss, in which no query has a class

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        from vitseg.losses.set_prediction import SetPredictionLoss

        return SetPredictionLoss(self.loss, class_weights)
