"""Numbers without bound: how a step is looked at, the batch that is kept, and what the user is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from vitseg.errors import ConfigError
from vitseg.files import write_json
from vitseg.runs import DIVERGED, DIVERGED_BATCH, STATE
from vitseg.training.batches import Batch, StepResult, micro_batches, samples_at
from vitseg.training.processes import largest_over_ranks
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import RunParts
from vitseg.training.sharding import local_part

_ADVICE = "Lower optimizer.lr, lengthen schedule.warmup_iterations or train with training.precision=32-true"


def not_finite(step: StepResult) -> str | None:
    """What of a step is no number, in words; None: nothing."""
    loss = step.loss.item()
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    norm = None if step.norm is None else step.norm.item()
    if norm is not None and not math.isfinite(norm):
        return f"the norm of the gradient is {norm}"
    return None


def has_finite_weights(parts: RunParts) -> bool:
    """Whether all weights are numbers, in all processes."""
    finite = all(bool(local_part(weight).isfinite().all()) for weight in parts.model.parameters())
    (lacking,) = largest_over_ranks(parts.fabric, int(not finite))
    return not lacking


def diverged(
    found: str,
    out: Path,
    recipe: Recipe,
    data: RunData,
    parts: RunParts,
    batch: Batch,
    step: StepResult,
) -> ConfigError:
    """Keep the batch of a step behind which numbers are without bound; returns what the user is told.

    All processes call it, once no state is being written.

    Args:
        found: What is no number.
        out: Folder of the run.
        recipe: The run.
        data: Its data.
        parts: Its parts, behind the step.
        batch: The batch of the step.
        step: What came of it.
    """
    at, fabric = parts.progress.iteration, parts.fabric
    fabric.barrier()  # the process that writes the state is here, and so it is written
    kept = _keep_batch(found, out, recipe, data, parts, batch, step)
    can_go_on = (out / STATE).is_file()
    if can_go_on and fabric.is_global_zero:
        write_json(out / DIVERGED, {"iteration": at, "found": found})
    fabric.barrier()  # the first process that ends takes the others with it
    said = f"{found} at iteration {at}: training diverged. {_ADVICE}, "
    if can_go_on:
        said += f"and go on with --resume from the state saved last, {out / STATE}; or begin again in another --out."
    else:
        said += "in another --out: no state was saved before."
    return ConfigError(f"{said} {kept}")


def _keep_batch(
    found: str,
    out: Path,
    recipe: Recipe,
    data: RunData,
    parts: RunParts,
    batch: Batch,
    step: StepResult,
) -> str:
    """Write the batch, of which only the micro-batches whose loss is no number if there are any; says where it is."""
    rank = parts.fabric.global_rank
    losses = [sum(term.item() for term in terms.values()) for terms in step.own]
    guilty = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
    if not math.isfinite(step.loss.item()) and not guilty:
        return (
            f"The process that met it has kept its batch, {out / DIVERGED_BATCH.format(rank='*')}."
        )
    numbers = guilty or list(range(len(losses)))
    pieces = micro_batches(*batch, len(losses))
    samples = _samples(recipe, data, parts, len(losses))
    path = out / DIVERGED_BATCH.format(rank=rank)
    content = {
        "found": found,
        "iteration": parts.progress.iteration,
        "rank": rank,
        "gradient_norm": None if step.norm is None else step.norm.item(),
        "preprocessing": data.preprocessing.model_dump(mode="json"),
        "micro_batches": [
            {
                "number": number,
                "samples": samples[number],
                "inputs": _kept(pieces[number][0]),
                "labels": _kept(pieces[number][1]),
                "terms": {name: term.item() for name, term in step.own[number].items()},
            }
            for number in numbers
        ],
    }
    try:
        torch.save(content, path)
    except (OSError, RuntimeError) as error:  # the latter are torch's words on a full disk
        return f"Its batch could not be kept ({error})."
    return (
        f"Its batch is kept: torch.load('{path}') has images, labels and the names of the samples."
    )


def _samples(
    recipe: Recipe, data: RunData, parts: RunParts, number: int
) -> list[list[dict[str, Any]]]:
    """Which samples the micro-batches of the step just taken were made of.

    Args:
        recipe: The run.
        data: Its data.
        parts: Its parts, behind the step.
        number: Of the micro-batches.
    """
    drawn = samples_at(recipe, data, parts, parts.progress.iteration - 1)
    named = [
        {
            "image": data.train_set.image_name(data.drawn.image_of(index)),
            "sample": index,
            "position": position,
        }
        for index, position in drawn
    ]
    size = len(named) // number
    return [named[first : first + size] for first in range(0, len(named), size)]


def _kept(inputs: Any) -> Any:
    if isinstance(inputs, torch.Tensor):
        return inputs.cpu().clone()  # a part of a batch would be written with all of it
    return [_kept(each) for each in inputs]
