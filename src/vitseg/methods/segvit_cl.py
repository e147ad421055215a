"""SegViT for continual learning (thesis section 4.2.3): one backbone, and a decoder for every set of classes learnt.

A model gets here by `vitseg extend`, which learns a task on top of a trained model and leaves that model's parameters
as they are, the backbone's too. Trained from a recipe, all of its tasks learn at once, each on its own classes.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from vitseg.backbones import AnyBackboneConfig
from vitseg.decoders.task_decoders import TaskConfig, TaskDecoders
from vitseg.errors import ConfigError
from vitseg.methods.method import AtmMethod, ClassWeights


class SegVitClConfig(AtmMethod):
    """The sections of a SegViT-CL model."""

    explainer = "tasks"

    backbone: AnyBackboneConfig = Field(
        description="the plain ViT and its taps, or the pyramid and its levels"
    )
    tasks: tuple[TaskConfig, ...] = Field(
        min_length=1, description="what was learnt together, in the order in which it was learnt"
    )

    @property
    def num_classes(self) -> int:
        """Classes that are given out."""
        return sum(len(task.kept) for task in self.tasks)

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        """See `MethodConfig`; raises ConfigError where the tasks have another number of classes."""
        if self.num_classes != num_classes:
            raise ConfigError(
                f"tasks give out {self.num_classes} classes, but the data set has {num_classes}: make the sum of "
                "tasks.num_classes, less what is removed, the number of its classes."
            )
        return TaskDecoders(channels, self.tasks)

    def output_loss(self, class_weights: ClassWeights | None) -> nn.Module:
        """See `MethodConfig`; raises ConfigError where classes are removed, or not told from those of other tasks."""
        from vitseg.losses.tasks import TasksLoss

        if any(task.removed for task in self.tasks):
            raise ConfigError(
                "a model from which classes were removed cannot be trained as a whole: leave tasks.removed out, or "
                "learn new classes on top of it with `vitseg extend`."
            )
        if self.loss.kind != "masks" and len(self.tasks) > 1:
            raise ConfigError(
                f"loss.kind is {self.loss.kind}, but there are {len(self.tasks)} tasks, and to each the classes of the "
                "others have the ignore label, which the cross-entropy of pixels leaves out: nothing would tell them "
                "apart. Set loss.kind=masks, or make it one task."
            )
        sizes = tuple(task.num_classes for task in self.tasks)
        return TasksLoss(self.loss, sizes, class_weights)
