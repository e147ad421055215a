"""SegViT for continual learning (thesis section 4.2.3): one backbone, and a decoder for every set of classes learnt.

A model gets here by `vitseg extend`, which learns a task on top of a trained model and leaves that model's parameters
as they are, the backbone's too. Trained from a recipe, all of its tasks learn at once, each on its own classes.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.backbones import AnyBackboneConfig, create_backbone
from vitseg.decoders.task_decoders import TaskConfig, TaskDecoders
from vitseg.errors import ConfigError
from vitseg.losses.atm import AtmLossConfig
from vitseg.losses.joined import JoinedLoss
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size


class SegVitClConfig(BaseModel):
    """The sections of a SegViT-CL model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps, or the pyramid and its levels"
    )
    tasks: tuple[TaskConfig, ...] = Field(
        min_length=1, description="what was learnt together, in the order in which it was learnt"
    )
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="what is supervised, and the weights of the terms"
    )

    @property
    def num_classes(self) -> int:
        """Classes that are given out."""
        return sum(len(task.kept) for task in self.tasks)


def build(
    config: SegVitClConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> SegmentationModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes, which must be those of the tasks together.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.

    Raises:
        ConfigError: The tasks have another number of classes.
    """
    if config.num_classes != num_classes:
        raise ConfigError(
            f"tasks give out {config.num_classes} classes, but the data set has {num_classes}: make the sum of "
            "tasks.num_classes, less what is removed, the number of its classes."
        )
    backbone = create_backbone(config.backbone, image_size, load_pretrained)
    return SegmentationModel(backbone, TaskDecoders(backbone.channels, config.tasks))


def build_loss(config: SegVitClConfig, class_weights: Tensor | None = None) -> JoinedLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike.

    Raises:
        ConfigError: Classes are removed.
    """
    if any(task.removed for task in config.tasks):
        raise ConfigError(
            "a model from which classes were removed cannot be trained as a whole: leave tasks.removed out, or learn "
            "new classes on top of it with `vitseg extend`."
        )
    sizes = tuple(task.num_classes for task in config.tasks)
    return JoinedLoss(config.loss, sizes, class_weights)
