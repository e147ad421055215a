"""The recipe that a choice amounts to, and what it takes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitseg.config import apply_overrides
from vitseg.errors import ConfigError
from vitseg.images.value_range import ValueRange
from vitseg.plan.choose import Schedule, Times, recipe_mapping, warmup
from vitseg.plan.data_facts import DataFacts
from vitseg.plan.device_facts import DeviceFacts
from vitseg.plan.pace import measure, measure_step
from vitseg.plan.request import Request
from vitseg.plan.scale import Scale
from vitseg.plan.split import Split
from vitseg.plan.vits import Vit
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.task import TrainingTask
from vitseg.training.value_range import with_value_range

FASTER = 0.9
"""A step in bf16 takes at most this share of one in fp32, or it is not worth its digits."""

_UNKNOWN = Schedule(1000, 1000, 0.0)  # until it is fitted


@dataclass(frozen=True)
class Candidate:
    """A scale with all that belongs to it.

    Attributes:
        scale: How images are brought to the model.
        recipe: Everything but the iterations.
        task: Its data.
        times: What it takes.
    """

    scale: Scale
    recipe: Recipe
    task: TrainingTask
    times: Times


class Bench:
    """Makes recipes of a choice, and measures them.

    Args:
        request: What the user wants; his overrides rule.
        data: The survey of the data.
        device: What is trained on.
        vit: The backbone.
        method: A key of `HEADS`.
        split: What is trained and validated on.
        seed: Of everything.
        say: Called with lines on what is going on.
    """

    def __init__(
        self,
        request: Request,
        data: DataFacts,
        device: DeviceFacts,
        vit: Vit,
        method: str,
        split: Split,
        seed: int,
        say: Callable[[str], object],
    ):
        self.request, self.data, self.device, self.vit = request, data, device, vit
        self.method, self.split, self.seed, self.say = method, split, seed, say
        self._settled: dict[str, dict[str, Any]] = {
            "training": {},
            "data": {},
            "backbone": {},
        }

    def recipe(self, scale: Scale, schedule: Schedule = _UNKNOWN) -> Recipe:
        """The recipe of a scale and a schedule, with what was settled by measurements, and the overrides."""
        mapping = recipe_mapping(
            self.data,
            self.device,
            self.vit,
            self.method,
            scale,
            {
                "source": self.request.spec,
                "train_split": self.split.train_name,
                "val_split": self.split.val_name,
            },
            self.seed,
        )
        for section, fields in self._settled.items():
            mapping[section] |= fields
        mapping["training"] |= {
            "iterations": schedule.iterations,
            "val_interval": schedule.val_interval,
            "save_interval": schedule.val_interval,
        }
        apply_overrides(mapping, [each for each in self.request.overrides if not _is_option(each)])
        iterations = mapping["training"]["iterations"]
        if isinstance(iterations, int) and not self.request.has("schedule.warmup_iterations"):
            mapping.setdefault("schedule", {})["warmup_iterations"] = warmup(
                self.method, iterations
            )
        return parse_recipe(mapping)

    def measured(self, scale: Scale) -> Candidate:
        """A scale with its times; on a GPU with as many crops per step as its memory takes.

        Raises:
            ConfigError: Not even one crop fits the memory.
        """
        self.say("measuring a few steps of the training")
        while True:
            task = TrainingTask(self.split.train_set, self.split.val_set)
            recipe = self.recipe(scale)
            recipe, task = with_value_range(recipe, self.reading_alike(task, recipe), Display())
            self._settle_reading(recipe)
            try:
                return Candidate(scale, recipe, task, measure(recipe, task))
            except torch.OutOfMemoryError as error:
                batch = recipe.training.batch_size // 2
                if not batch or self.request.has("training.batch_size"):
                    raise ConfigError(
                        f"one step does not fit the memory of {self.device.words()}: take a smaller --backbone, or a "
                        "smaller data.augment.crop_size."
                    ) from error
                torch.cuda.empty_cache()
                self._settled["training"]["batch_size"] = batch

    def with_precision(self, found: Candidate) -> tuple[Candidate, str]:
        """The same in bf16 where a CPU has instructions for it and is faster by them; and the precision in words."""
        stated = found.recipe.training.precision
        if self.request.has("training.precision"):
            return found, f"precision {stated}"
        if self.device.kind != "cpu":
            return found, "in bf16" if self.device.has_bf16 else "in mixed precision"
        if not self.device.has_bf16:
            return found, "in fp32"
        self._settled["training"]["precision"] = "bf16-mixed"
        recipe = self.recipe(found.scale)
        step = measure_step(recipe, found.task)
        told = f"{step:.2f} seconds per step in bf16, {found.times.step:.2f} in fp32"
        if step > FASTER * found.times.step:
            del self._settled["training"]["precision"]
            return found, f"in fp32 ({told})"
        times = replace(found.times, step=step)
        return Candidate(found.scale, recipe, found.task, times), f"in bf16 ({told})"

    def _settle_reading(self, recipe: Recipe) -> None:
        """Keep the range of values or the bands that were measured: nothing is measured twice."""
        mapping = recipe.to_mapping()
        for field in ("value_range", "bands"):
            if mapping["data"][field] is not None:
                self._settled["data"][field] = mapping["data"][field]
        if mapping["backbone"]["channels"] is not None:
            self._settled["backbone"]["channels"] = mapping["backbone"]["channels"]

    def reading_alike(self, task: TrainingTask, recipe: Recipe) -> TrainingTask:
        """Data read as those that were measured; as they are where nothing was."""
        bands, stated, val_set = recipe.data.bands, recipe.data.value_range, task.val_set
        if bands is None and stated is None:
            return task
        limits = None if stated is None else ValueRange(*stated)
        train_set = task.train_set
        bands = train_set.bands if bands is None else bands
        return replace(
            task,
            train_set=train_set.read_as(bands, limits),
            val_set=None if val_set is None else val_set.read_as(bands, limits),
        )


def _is_option(override: str) -> bool:
    """Whether an override says what the request has taken up already."""
    return override.partition("=")[0] in ("method", "backbone.name", "backbone.weights")
