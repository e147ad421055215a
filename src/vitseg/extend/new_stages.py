"""What the stages of a new task start from."""

from __future__ import annotations

from typing import Literal, cast

from vitseg.decoders.atm import AtmDecoder
from vitseg.decoders.task_decoders import TaskDecoders
from vitseg.methods.model import SegmentationModel

NewStages = Literal["fresh", "first_task"]


def start_part(part: SegmentationModel, model: SegmentationModel, stages: NewStages) -> None:
    """Give the part that learns new classes what it begins with.

    The backbone is the model's, and all of it is frozen, the norms of a pyramid's levels too. The thesis says that new
    stages are trained and not what they start from; a copy of those of the first task, which has usually learnt most,
    knows already how to find objects in these features, and learns faster (`docs/extend.md`). Only a copy: the first
    task's own stay frozen.

    Args:
        part: A SegViT of the new classes alone, with random weights; its queries keep them.
        model: A model of tasks (`vitseg.extend.tasks.as_tasks`).
        stages: "fresh": random weights; "first_task": the first task's stages and, where that task also says of every
            query whether its class is there, its classifier.
    """
    part.backbone.load_state_dict(model.backbone.state_dict())
    part.backbone.requires_grad_(False)
    if stages == "fresh":
        return
    first = cast(AtmDecoder, cast(TaskDecoders, model.decoder).tasks[0])
    new = cast(AtmDecoder, part.decoder)
    new.stages.load_state_dict(first.stages.state_dict())
    if first.config.classifier == new.config.classifier:
        new.class_embed.load_state_dict(first.class_embed.state_dict())
