"""Decoders that were learnt one after the other and read the same features: SegViT for continual learning.

Source: thesis section 4.2.3, equations 4.7-4.9. Every task has class queries, attention-to-mask stages and a classifier
of its own; what earlier tasks have is never touched again. The outputs stand one behind the other along the class axis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.features import Features
from vitseg.outputs import Joined, QueryMasks


class TaskConfig(BaseModel):
    """One task: the classes that were learnt together, and their decoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_classes: int = Field(ge=1, description="classes that were learnt")
    decoder: AtmConfig = Field(
        default=AtmConfig(classifier="presence"), description="the ATM cascade of these classes"
    )
    removed: tuple[int, ...] = Field(
        default=(),
        description="classes of the task, from 0, that are not given out any more; their queries stay, since the "
        "others attend to them",
    )
    presence_bias: float = Field(
        default=0.0,
        description="added to the logit that a class is present: above 0 the task claims more pixels beside the "
        'others; 0 in the thesis. For classifier "presence" alone',
    )

    @model_validator(mode="after")
    def _removed_are_classes(self) -> TaskConfig:
        wrong = [index for index in self.removed if not 0 <= index < self.num_classes]
        if wrong or len(set(self.removed)) < len(self.removed):
            raise ValueError(
                f"removed {list(self.removed)} must name classes of the task, 0 to {self.num_classes - 1}, once each"
            )
        if len(self.removed) == self.num_classes:
            raise ValueError("all classes of the task are removed: leave the task out")
        return self

    @model_validator(mode="after")
    def _bias_needs_presence(self) -> TaskConfig:
        if self.presence_bias and self.decoder.classifier != "presence":
            raise ValueError(
                'presence_bias belongs to decoder.classifier "presence": set it, or leave the bias out'
            )
        return self

    @property
    def kept(self) -> tuple[int, ...]:
        """Classes that are given out, in order."""
        return tuple(index for index in range(self.num_classes) if index not in self.removed)


class TaskDecoders(nn.Module):
    """The decoders of all tasks.

    `Joined.parts` holds the output of every task, with its earlier stages. A task runs by itself, in the same
    operations of the same shapes as when it was alone, so that its scores keep every bit whatever is learnt later.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        tasks: In the order in which they were learnt.
    """

    def __init__(self, in_channels: tuple[int, ...], tasks: tuple[TaskConfig, ...]):
        super().__init__()
        self.configs = tasks
        self.tasks = nn.ModuleList(
            AtmDecoder(in_channels, task.num_classes, task.decoder) for task in tasks
        )

    def forward(self, features: Features) -> Joined:
        """Features to the masks and class logits of every task."""
        return Joined.of(
            [
                _given_out(cast(AtmDecoder, decoder)(features), config)
                for decoder, config in zip(self.tasks, self.configs, strict=True)
            ]
        )


def _given_out(output: QueryMasks, task: TaskConfig) -> QueryMasks:
    """A task's output with its bias on the presence of its classes, and without its removed classes."""
    if task.presence_bias:
        bias = output.class_logits.new_tensor([task.presence_bias, 0.0])
        output = replace(output, class_logits=output.class_logits + bias)
    return output.select(task.kept) if task.removed else output
