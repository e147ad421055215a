"""The memory of a training step, measured in a process of its own that is then gone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from torch import nn

from vitseg.data.balance import Balance
from vitseg.errors import VitsegError, is_out_of_memory
from vitseg.own_memory import held_bytes, peak_bytes
from vitseg.training.batches import batches, train_step
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import build_parts
from vitseg.training.samples import training_samples
from vitseg.training.task import task_of

STEPS = 2
"""The first one makes the optimiser's states, the second one has them beside all else."""

BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)

_TOO_MUCH = 3  # exit code
_LOOK_EVERY = 0.02  # seconds


class StepMemory(NamedTuple):
    """What one process of a training takes.

    Attributes:
        num_bytes: At the peak; None: more than there was.
        has_batch_norm: Whether a normalisation over the batch is trained.
    """

    num_bytes: int | None
    has_batch_norm: bool = False


def measure_step(recipe: Recipe, most: int) -> StepMemory:
    """Run the first steps of a recipe on its own data, in a new process, whose folder is not touched.

    On a GPU it is what torch has allocated at most; on a CPU all that the process held at most, libraries included. The
    processes that load samples are left out. Of several processes it is one with its share of the batch, with the
    second copy of the gradients that data-parallel training keeps.

    Args:
        recipe: The run, with its value range or bands.
        most: Bytes of the CPU's memory at which it is given up, before the machine runs out of them.

    Raises:
        VitsegError: What `build_parts` and the data raise.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, recipe, most), daemon=True)
    process.start()
    theirs.close()
    try:
        told = ours.recv()
    except EOFError:
        told = None
    finally:
        process.join()
    if isinstance(told, StepMemory):
        return told
    if isinstance(told, VitsegError):
        raise told
    if told is None and process.exitcode in (_TOO_MUCH, -signal.SIGKILL):
        return StepMemory(None)  # given up, or ended by the system, which had no more
    raise RuntimeError(f"the step that is measured ended with {told or process.exitcode}")


def _run(pipe: Connection, recipe: Recipe, most: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the process that waits
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    threading.Thread(target=_give_up_at, args=(most,), daemon=True).start()
    try:
        told: object = _measured(recipe)
    except VitsegError as error:
        told = error
    except Exception as error:
        told = StepMemory(None) if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
    pipe.send(told)


def _give_up_at(most: int) -> None:
    while held_bytes() <= most:
        time.sleep(_LOOK_EVERY)
    os._exit(_TOO_MUCH)


def _measured(recipe: Recipe) -> StepMemory:
    recipe, num_processes = _of_one_process(recipe), recipe.training.num_processes
    task = task_of(recipe)
    preprocessing = recipe.preprocessing()
    drawn = training_samples(recipe, task.train_set, Balance(), preprocessing)
    data = RunData(task.train_set, task.val_set, preprocessing, Balance(), drawn, [])
    parts = build_parts(recipe, task, data)
    for step, (inputs, labels) in enumerate(batches(recipe, data, parts), start=1):
        train_step(recipe, parts, inputs, labels)
        if step == STEPS:
            break
    device = parts.fabric.device
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    trained = [p for p in parts.model.parameters() if p.requires_grad]
    if num_processes > 1:
        peak += sum(p.numel() * p.element_size() for p in trained)
    has_batch_norm = any(
        isinstance(part, BATCH_NORMS) and any(p.requires_grad for p in part.parameters())
        for part in parts.model.modules()
    )
    return StepMemory(peak, has_batch_norm)


def _of_one_process(recipe: Recipe) -> Recipe:
    recipe = recipe.of_one_process()
    iterations = max(STEPS, recipe.training.iterations)
    training = recipe.training.model_copy(update={"iterations": iterations})
    data = recipe.data.model_copy(update={"num_workers": 0})
    return recipe.model_copy(update={"training": training, "data": data})
