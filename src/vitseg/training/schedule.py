"""Polynomial decay with linear warm-up."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ScheduleConfig(BaseModel):
    """The learning rate over the iterations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: float = Field(default=1.0, gt=0, description="exponent of the decay")
    warmup_iterations: int = Field(default=1500, ge=0, description="iterations of linear warm-up")
    warmup_ratio: float = Field(
        default=1e-6, ge=0, le=1, description="share of the learning rate at iteration 0"
    )
    decay_from: Literal["start", "warmup"] = Field(
        default="start",
        description="where the decay begins: at iteration 0, under the warm-up, or behind it (as DToP was trained)",
    )
    min_lr: float = Field(
        default=0.0,
        ge=0,
        description="absolute learning rate at the end, of the backbone and of what learns faster; what learns slower "
        "(optimizer.layer_decay, ratios below 1) ends at as small a share of it",
    )


def lr_at(
    iteration: int,
    base_lr: float,
    num_iterations: int,
    config: ScheduleConfig,
    backbone_lr: float | None = None,
) -> float:
    """Learning rate of a group before step `iteration` (counted from 0).

    (base - min) (1 - t/T)^power + min; during warm-up multiplied by 1 - (1 - t/W)(1 - ratio). With the decay behind
    the warm-up, t and T are counted from its end, and t is 0 until then.

    Of a group that begins faster than the backbone, min is `min_lr` itself, as in mmsegmentation's published trainings.
    Of one that begins slower it is the same share of it, as in timm and BEiT, whose layers scale the whole schedule: at
    `min_lr` itself the rate of such a group would rise.

    Args:
        iteration: The step.
        base_lr: The group's rate in front of the schedule.
        num_iterations: Of the training.
        config: The schedule.
        backbone_lr: `optimizer.lr`; None: the group's own.
    """
    share = 1.0 if backbone_lr is None else min(1.0, base_lr / backbone_lr)
    min_lr = config.min_lr * share
    start = config.warmup_iterations if config.decay_from == "warmup" else 0
    decay = (1 - max(0, iteration - start) / (num_iterations - start)) ** config.power
    lr = (base_lr - min_lr) * decay + min_lr
    if iteration < config.warmup_iterations:
        remaining = 1 - iteration / config.warmup_iterations
        lr *= 1 - remaining * (1 - config.warmup_ratio)
    return lr
