"""The batches of a run, and what is done with one: one step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.utils.data import DataLoader, Dataset

from vitseg.errors import VitsegError
from vitseg.losses.whole_step import micro_batches_of
from vitseg.training.feature_cache import CachedSamples
from vitseg.training.loaders import killed_loaders
from vitseg.training.processes import mean_over_ranks
from vitseg.training.randomness import seed_step
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import RunParts, scaler_of
from vitseg.training.sampler import GridSamples, Position, StreamSampler, collate
from vitseg.training.schedule import lr_at
from vitseg.training.sharding import whole_tensor
from vitseg.training.stop import ignore_interrupts

Inputs = Tensor | Sequence[Tensor]
"""Images, or the feature maps that a cache holds of them."""

Batch = tuple[Inputs, Tensor]
"""Inputs and their labels."""


class StepResult(NamedTuple):
    """What came of a step.

    Attributes:
        loss: Over all processes.
        terms: Its terms by name, likewise.
        own: Those of each micro-batch of this process.
        norm: Of the gradient; None: not looked at.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    own: list[dict[str, Tensor]]
    norm: Tensor | None


def batches(recipe: Recipe, data: RunData, parts: RunParts) -> Iterator[Batch]:
    """The batches of a run from where it stands to its end, on its device.

    Args:
        recipe: The run.
        data: What it draws from.
        parts: Its devices, how far it is, and the cache of its features where it has one.

    Raises:
        DataError: A sample cannot be read.
        VitsegError: A process that loads samples was killed.
    """
    fabric, drawn = parts.fabric, data.drawn
    samples: Dataset = drawn.samples
    if parts.cache is not None:
        assert isinstance(samples, GridSamples)
        samples = CachedSamples(samples, parts.cache)
    loader = DataLoader(
        samples,
        batch_sampler=_sampler(recipe, data, parts, parts.progress.iteration),
        num_workers=recipe.data.num_workers,
        pin_memory=fabric.device.type == "cuda",
        worker_init_fn=ignore_interrupts,
        collate_fn=collate,
    )
    loader = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    with killed_loaders(recipe.data.num_workers, is_loading=True):
        for batch in cast(Iterable[Batch | VitsegError], loader):
            if isinstance(batch, VitsegError):
                raise batch
            yield batch


def samples_at(recipe: Recipe, data: RunData, parts: RunParts, iteration: int) -> list[Position]:
    """The samples of this process' batch in a step.

    Args:
        recipe: The run.
        data: What it draws from.
        parts: Its devices.
        iteration: Steps before that one.
    """
    return next(iter(_sampler(recipe, data, parts, iteration)))


def _sampler(recipe: Recipe, data: RunData, parts: RunParts, first: int) -> StreamSampler:
    config, fabric, drawn = recipe.training, parts.fabric, data.drawn
    return StreamSampler(
        len(drawn.samples),
        config.batch_size // config.num_processes,
        (first, config.iterations),
        config.seed,
        fabric.global_rank,
        fabric.world_size,
        drawn.repeats,
    )


def micro_batches(inputs: Inputs, labels: Tensor, number: int) -> list[Batch]:
    """A batch in equal parts, in their order.

    Args:
        inputs: Images, or features of them.
        labels: Their labels.
        number: Of the parts.
    """
    size = len(labels) // number
    cuts = [slice(first, first + size) for first in range(0, len(labels), size)]
    if isinstance(inputs, Tensor):
        return [(inputs[cut], labels[cut]) for cut in cuts]
    return [([each[cut] for each in inputs], labels[cut]) for cut in cuts]


def train_step(recipe: Recipe, parts: RunParts, inputs: Inputs, labels: Tensor) -> StepResult:
    """Train on one batch, in as many micro-batches as the recipe says.

    Args:
        recipe: The run.
        parts: Its model and optimiser; the progress is one iteration farther afterwards.
        inputs: Images, or features of them.
        labels: Their labels.
    """
    at, iterations = parts.progress.iteration, recipe.training.iterations
    for group, base in zip(parts.optimizer.param_groups, parts.base_lrs, strict=True):
        group["lr"] = lr_at(at, base, iterations, recipe.schedule, recipe.optimizer.lr)
    parts.step.train()
    parts.model.set_progress(at / iterations)
    own = _gradients(
        recipe, parts, micro_batches(inputs, labels, recipe.training.accumulate), labels
    )
    norm = _clipped(recipe, parts)
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    parts.progress.iteration += 1
    if parts.average is not None:
        parts.average.update(parts.progress.iteration)
    values = torch.stack([torch.stack(list(terms.values())) for terms in own]).mean(0)
    values = mean_over_ranks(parts.fabric, values)
    return StepResult(values.sum(), dict(zip(own[0], values, strict=True)), own, norm)


def _gradients(
    recipe: Recipe, parts: RunParts, pieces: list[Batch], labels: Tensor
) -> list[dict[str, Tensor]]:
    """Sum up the gradients of all micro-batches; returns the loss terms of each."""
    fabric, number, found = parts.fabric, len(pieces), []
    with nullcontext() if number == 1 else micro_batches_of(labels):
        for index, (inputs, own_labels) in enumerate(pieces):
            seed_step(recipe.training.seed, parts.progress.iteration, fabric.global_rank, index)
            # processes exchange their gradients once, when all are summed up
            with fabric.no_backward_sync(parts.step, enabled=index < number - 1):
                terms = parts.step(inputs, own_labels)
                loss = torch.stack(list(terms.values())).sum()
                fabric.backward(loss if number == 1 else loss / number)
            found.append({name: term.detach() for name, term in terms.items()})
    return found


def _clipped(recipe: Recipe, parts: RunParts) -> Tensor | None:
    """Clip the gradients; returns their norm, None in 16-mixed, where the scaler leaves out steps that overflow."""
    largest = recipe.optimizer.clip_grad_norm
    has_scaler = scaler_of(parts.fabric) is not None
    if largest is None:
        return None if has_scaler else _norm(parts)
    norm = parts.fabric.clip_gradients(
        parts.step,
        parts.optimizer,
        max_norm=largest,
        error_if_nonfinite=False,  # the loop says it in its own words
    )
    return None if has_scaler else norm


def _norm(parts: RunParts) -> Tensor:
    """The norm of the whole gradient, without a pass over it that would multiply it by one."""
    weights = [weight for group in parts.optimizer.param_groups for weight in group["params"]]
    return whole_tensor(get_total_norm([each.grad for each in weights if each.grad is not None]))
