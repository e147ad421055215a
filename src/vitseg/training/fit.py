"""Making a training fit the memory: one step is measured, and what saves memory is added until it fits.

The images of a step, their augmentation and the rates stay: nothing is added that changes what is learnt but by
rounding, and by what micro-batches change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from vitseg.config import apply_overrides, read_yaml
from vitseg.errors import ConfigError
from vitseg.inference.precision import has_bf16
from vitseg.runs import RECIPE
from vitseg.training.device_memory import in_words, memory_at_hand
from vitseg.training.display import Display
from vitseg.training.lowbit import has_lowbit
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.step_memory import StepMemory, measure_step
from vitseg.training.task import task_of
from vitseg.training.value_range import with_value_range

PRECISION, CHECKPOINTING, ACCUMULATE, KIND = (
    "training.precision",
    "backbone.gradient_checkpointing",
    "training.accumulate",
    "optimizer.kind",
)
FIELDS = (PRECISION, CHECKPOINTING, ACCUMULATE, KIND)
"""Fields of a recipe that may be changed."""

SHARE = 0.9
"""Of the memory at hand; the rest is for what others take meanwhile, and for what an allocator cannot use."""

Changes = dict[str, Any]
"""Values of fields by their dotted names."""


@dataclass(frozen=True)
class Place:
    """What is trained on.

    Attributes:
        is_gpu: Whether it is a GPU.
        has_bf16: Whether it has instructions for bf16.
        has_lowbit: Whether 8-bit states of the optimiser can be kept there.
        memory: Bytes that a process may take.
        given: Whether the user has given that number.
        most: Bytes of the CPU's memory at which a measurement is given up.
    """

    is_gpu: bool
    has_bf16: bool
    has_lowbit: bool
    memory: int
    given: bool
    most: int


def place_of(recipe: Recipe, given: int | None) -> Place:
    """Where a recipe is trained on this machine; `given` are bytes that the user allows it.

    Raises:
        ConfigError: The model is sharded, there is a device of another kind, or the system does not tell its memory.
    """
    if recipe.training.strategy == "fsdp":
        raise ConfigError(
            '--fit measures a process that holds the whole model, but training.strategy is "fsdp": leave --fit out.'
        )
    is_gpu = torch.cuda.is_available()
    if not is_gpu and torch.backends.mps.is_available():
        raise ConfigError("--fit measures CPUs and CUDA GPUs: leave it out on this one.")
    device = torch.device("cuda" if is_gpu else "cpu")
    at_hand = memory_at_hand(device.type)
    machine = memory_at_hand("cpu") if is_gpu else at_hand
    sharing = 1 if is_gpu else recipe.training.devices  # processes on one memory
    memory = (int(SHARE * at_hand) if given is None else given) // sharing
    return Place(
        is_gpu, has_bf16(device), is_gpu and has_lowbit(), memory, given is not None, machine
    )


def fitted(
    recipe: Recipe,
    place: Place,
    settled: frozenset[str],
    measure: Callable[[Recipe, int], StepMemory],
    say: Callable[[str], object],
) -> Changes:
    """What has to be changed for a step to fit the memory; this is said.

    Args:
        recipe: The run, with its value range or bands.
        place: Where it is trained.
        settled: Fields that the user has given, and that stay.
        measure: Measures a step.
        say: Called with lines on what is going on.

    Raises:
        ConfigError: Nothing makes it fit.
    """
    say("--fit: measuring a step of the training")
    first = measure(recipe, place.most)
    if _fits(first, place):
        say(f"--fit: a step takes {_words(first)}, {_allowed(place)}: nothing is changed")
        return {}
    least, best = first, {}
    for changes in _candidates(recipe, place, settled, first.has_batch_norm):
        found = measure(changed(recipe, changes), place.most)
        if _fits(found, place):
            say(
                f"--fit: a step takes {_words(first)}, {_allowed(place)}: trained with {_told(changes)}, with which it "
                f"takes {_words(found)}"
            )
            return changes
        if _bytes(found) < _bytes(least):
            least, best = found, changes
    reached = f", and {_words(least)} at least, with {_told(best)}" if best else ""
    raise ConfigError(
        f"--fit: a step takes {_words(first)}{reached}, but {_allowed(place)}. Take a smaller data.augment.crop_size "
        "or backbone, training.lora={} or training.freeze_backbone=true, or a device with more memory."
    )


def _candidates(
    recipe: Recipe, place: Place, settled: frozenset[str], has_batch_norm: bool
) -> Iterator[Changes]:
    """What may be changed together, from what costs least on; each has those before it."""
    config, optimizer, changes = recipe.training, recipe.optimizer, {}
    if place.is_gpu and place.has_bf16 and config.precision == "32-true":
        yield from _with(changes, PRECISION, "bf16-mixed", settled)
    if not (recipe.model.backbone.gradient_checkpointing or config.freeze_backbone):
        yield from _with(changes, CHECKPOINTING, True, settled)
    if not has_batch_norm:  # which would see the images of a part alone
        share = config.batch_size // config.num_processes
        for parts in range(config.accumulate + 1, share + 1):
            if share % parts == 0:
                yield from _with(changes, ACCUMULATE, parts, settled)
    if place.has_lowbit and optimizer.kind == "adamw":
        yield from _with(changes, KIND, "adamw8bit", settled)


def _with(changes: Changes, field: str, value: Any, settled: frozenset[str]) -> Iterator[Changes]:
    if field not in settled:
        changes[field] = value
        yield dict(changes)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other values of some fields."""
    mapping = recipe.to_mapping()
    apply_overrides(mapping, [f"{name}={_yaml(value)}" for name, value in changes.items()])
    return parse_recipe(mapping)


def fit_to_memory(
    recipe: Recipe, given: int | None, settled: frozenset[str], display: Display
) -> Recipe:
    """The recipe that fits, with its value range or bands, which are measured once for all steps.

    Args:
        recipe: The run.
        given: Bytes that it may take; None: what is at hand.
        settled: Fields that stay.
        display: Where all is said.
    """
    place = place_of(recipe, given)
    recipe, _ = with_value_range(recipe, task_of(recipe), display)
    return changed(recipe, fitted(recipe, place, settled, measure_step, display.started))


def as_begun(recipe: Recipe, run: Path, settled: frozenset[str]) -> Recipe:
    """The recipe with what was changed when a run began, which goes on.

    Args:
        recipe: The run, as it is given.
        run: Its folder.
        settled: Fields that stay.
    """
    begun = read_yaml(run / RECIPE)
    kept = {}
    for name in FIELDS:
        section, _, field = name.partition(".")
        if name not in settled and field in (begun.get(section) or {}):
            kept[name] = begun[section][field]
    return changed(recipe, kept)


def _fits(found: StepMemory, place: Place) -> bool:
    return _bytes(found) <= place.memory


def _bytes(found: StepMemory) -> float:
    return float("inf") if found.num_bytes is None else found.num_bytes


def _words(found: StepMemory) -> str:
    return "more than there is" if found.num_bytes is None else in_words(found.num_bytes)


def _allowed(place: Place) -> str:
    return f"{in_words(place.memory)} are {'given' if place.given else 'at hand'}"


def _told(changes: Changes) -> str:
    return " ".join(f"{name}={_yaml(value)}" for name, value in changes.items())


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value).removesuffix("...\n").strip()
