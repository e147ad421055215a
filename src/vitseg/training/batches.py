"""The batches of a run, and what is done with one: one step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitseg.errors import VitsegError
from vitseg.training.feature_cache import CachedSamples
from vitseg.training.processes import mean_over_ranks
from vitseg.training.randomness import seed_step
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import RunParts
from vitseg.training.sampler import GridSamples, StreamSampler, collate
from vitseg.training.schedule import lr_at
from vitseg.training.stop import ignore_interrupts

Batch = tuple[Tensor | Sequence[Tensor], Tensor]
"""Images, or the feature maps that a cache holds of them, and their labels."""


def batches(recipe: Recipe, data: RunData, parts: RunParts) -> Iterator[Batch]:
    """The batches of a run from where it stands to its end, on its device.

    Args:
        recipe: The run.
        data: What it draws from.
        parts: Its devices, how far it is, and the cache of its features where it has one.

    Raises:
        DataError: A sample cannot be read.
    """
    config, fabric, drawn = recipe.training, parts.fabric, data.drawn
    samples: Dataset = drawn.samples
    if parts.cache is not None:
        assert isinstance(samples, GridSamples)
        samples = CachedSamples(samples, parts.cache)
    sampler = StreamSampler(
        len(drawn.samples),
        config.batch_size // config.num_processes,
        (parts.progress.iteration, config.iterations),
        config.seed,
        fabric.global_rank,
        fabric.world_size,
        drawn.repeats,
    )
    loader = DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=recipe.data.num_workers,
        pin_memory=fabric.device.type == "cuda",
        worker_init_fn=ignore_interrupts,
        collate_fn=collate,
    )
    loader = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    for batch in cast(Iterable[Batch | VitsegError], loader):
        if isinstance(batch, VitsegError):
            raise batch
        yield batch


def train_step(
    recipe: Recipe, parts: RunParts, inputs: Tensor | Sequence[Tensor], labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Train on one batch; returns the loss over all processes and its terms by name.

    Args:
        recipe: The run.
        parts: Its model and optimiser; the progress is one iteration farther afterwards.
        inputs: Images, or features of them.
        labels: Their labels.
    """
    at, iterations = parts.progress.iteration, recipe.training.iterations
    for group, base in zip(parts.optimizer.param_groups, parts.base_lrs, strict=True):
        group["lr"] = lr_at(at, base, iterations, recipe.schedule)
    seed_step(recipe.training.seed, at, parts.fabric.global_rank)
    parts.step.train()
    parts.model.set_progress(at / iterations)
    terms = parts.step(inputs, labels)
    loss = torch.stack(list(terms.values())).sum()
    parts.fabric.backward(loss)
    if recipe.optimizer.clip_grad_norm is not None:
        parts.fabric.clip_gradients(
            parts.step,
            parts.optimizer,
            max_norm=recipe.optimizer.clip_grad_norm,
            # in 16-mixed the scaler leaves such a step out; else the next loss or the next save tells it
            error_if_nonfinite=False,
        )
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    parts.progress.iteration += 1
    names, values = list(terms), torch.stack(list(terms.values())).detach()
    values = mean_over_ranks(parts.fabric, values)
    return values.sum(), dict(zip(names, values, strict=True))
