"""What the processes of one training tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import lightning
import numpy as np
import torch
from jaxtyping import Int64, Shaped
from lightning.fabric.plugins.environments import SLURMEnvironment
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitseg.data.parallel import most_processes
from vitseg.errors import ConfigError, SaidElsewhereError, VitsegError, first_names
from vitseg.evaluation.share import Share
from vitseg.launch import Started, started

_LOST = ("gloo", "nccl", "connection", "socket", "timed out", "peer")


def require_processes(devices: int, num_nodes: int) -> None:
    """See that the processes of a recipe are those that were started, or can be started here.

    Raises:
        ConfigError: Other numbers of processes were started, so that some would train by themselves or wait in vain;
            nobody starts those of other machines; or this machine has not so many devices.
    """
    found, wanted = started(), devices * num_nodes
    if found.by == "torchrun":
        _require_torchrun(found, devices, num_nodes)
        return
    if found.by == "vitseg":
        _require_same(found, wanted)
    elif found.by == "WORLD_SIZE":
        _require_world(found, wanted)
    else:
        _require_tasks(found, devices, num_nodes)
    if not SLURMEnvironment.detect():
        _require_one_machine(num_nodes)
    _require_devices(devices)


def _require_torchrun(found: Started, devices: int, num_nodes: int) -> None:
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or found.number)
    if local != devices or found.number != devices * num_nodes:
        nodes = found.number // max(1, local)
        raise ConfigError(
            f"torchrun has started {local} processes on each of {nodes} machines, but the recipe has training.devices "
            f"{devices} and training.num_nodes {num_nodes}: give training.devices={local} training.num_nodes={nodes}."
        )


def _require_same(found: Started, wanted: int) -> None:
    """Raise ConfigError for a training of another number of processes behind one that has started its own."""
    if found.number != wanted:
        raise ConfigError(
            f"a training of this command has started {found.number} processes, but training.devices of the next one is "
            f"{wanted}: give all of them the same training.devices."
        )


def _require_world(found: Started, wanted: int) -> None:
    """Raise ConfigError for processes that somebody has started and does not connect: each would train by itself."""
    if found.number > 1 and (found.number != wanted or "LOCAL_RANK" not in os.environ):
        raise ConfigError(
            f"WORLD_SIZE and RANK say that {found.number} processes were started for this training, but nothing "
            "connects them: start it with torchrun on each machine (docs/cluster.md has the command). If this is a "
            "process by itself, unset both variables."
        )


def _require_tasks(found: Started, devices: int, num_nodes: int) -> None:
    """Raise ConfigError where SLURM has started another number of tasks, which would be the processes.

    The one process of a batch script or of a shell counts as one task. A shell that SLURM knows as interactive starts
    the others by itself.
    """
    wanted, is_batch = devices * num_nodes, SLURMEnvironment.detect()
    if found.number == wanted or (found.number == 1 and not is_batch):
        _require_tasks_per_node(found, devices)
        return
    of_recipe = f"{wanted} process{'es' if wanted > 1 else ''}"
    raise ConfigError(
        f"SLURM has started {found.number} tasks, but training.devices and training.num_nodes of the recipe make "
        f"{of_recipe}: start one task on each machine, and in it torchrun (docs/cluster.md has the script), or with "
        "srun one task for each device."
    )


def _require_tasks_per_node(found: Started, devices: int) -> None:
    """Raise ConfigError where several tasks were not asked for by machine, as Lightning wants it."""
    if found.number > 1 and os.environ.get("SLURM_NTASKS_PER_NODE") != str(devices):
        raise ConfigError(
            f"training.devices is {devices}, but SLURM_NTASKS_PER_NODE is "
            f"{os.environ.get('SLURM_NTASKS_PER_NODE', 'not set')}: start the tasks with --ntasks-per-node={devices}."
        )


def _require_one_machine(num_nodes: int) -> None:
    """Raise ConfigError for several machines: the others would be waited for in vain."""
    if num_nodes > 1:
        raise ConfigError(
            f"training.num_nodes is {num_nodes}, but nothing has started this process on several machines: start it "
            "with torchrun on each (docs/cluster.md has the command), or give training.num_nodes=1."
        )


def _require_devices(devices: int) -> None:
    """Raise ConfigError where this machine has fewer devices; a CPU takes some processes beyond its cores."""
    if torch.cuda.is_available():
        most = torch.cuda.device_count()
        there = f"{most} GPU{'' if most == 1 else 's'}"
    else:
        most = most_processes()
        there = f"a CPU, which takes {most} processes at most"
    if devices > most:
        raise ConfigError(
            f"training.devices is {devices}, but this machine has {there}: give training.devices={most} or less."
        )


def mean_over_ranks(fabric: lightning.Fabric, value: Shaped[Tensor, "*any"]) -> Tensor:
    """The mean of a value over all processes; the value itself where there is one."""
    if fabric.world_size == 1:
        return value
    return cast(Tensor, fabric.all_reduce(value.detach().clone(), reduce_op="mean"))


def largest_over_ranks(fabric: lightning.Fabric, *values: int) -> list[int]:
    """The largest of each number over all processes: what one knows, all know then.

    Args:
        fabric: The processes.
        values: Those of this one.
    """
    if fabric.world_size == 1:
        return list(values)
    given = torch.tensor(values, device=fabric.device)
    return cast(Tensor, fabric.all_reduce(given, reduce_op="max")).tolist()


def as_in_the_first(fabric: lightning.Fabric, model: nn.Module) -> None:
    """Give a model in all processes the statistics that it has in the first: each has measured those of its batches.

    Args:
        fabric: The processes.
        model: The same in all, but for its buffers.
    """
    if fabric.world_size > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point() and buffer.is_contiguous():
                torch.distributed.broadcast(buffer, src=0)


class RankShare(Share):
    """The part of a validation that a process does; what all have found is summed.

    Args:
        fabric: The processes.
    """

    def __init__(self, fabric: lightning.Fabric):
        super().__init__(fabric.global_rank, fabric.world_size)
        self._fabric = fabric

    def total(self, counts: Int64[np.ndarray, "k k"]) -> Int64[np.ndarray, "k k"]:
        summed = self._sum(torch.from_numpy(np.append(counts.reshape(-1), 0)))
        if summed[-1]:
            raise VitsegError(
                "another process of this training could not validate: its own message says why."
            )
        return summed[:-1].reshape(counts.shape)

    def failed(self, shape: tuple[int, int]) -> None:
        """Tell the others that this process has no counts: they wait for them."""
        self._sum(torch.tensor([0] * (shape[0] * shape[1]) + [1]))

    def _sum(self, counts: Tensor) -> Int64[np.ndarray, " n"]:
        moved = counts.to(self._fabric.device)
        return cast(Tensor, self._fabric.all_reduce(moved, reduce_op="sum")).cpu().numpy()


@contextmanager
def lost_processes(fabric: lightning.Fabric) -> Iterator[None]:
    """Within it, that another process has ended is one sentence.

    Raises:
        VitsegError: One has ended, or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not _is_lost(error):
            raise
        raise VitsegError(
            f"process {fabric.global_rank} of {fabric.world_size} has lost another one, which ended or does not "
            "answer; its own message, if it had time for one, says why. Go on with --resume from the state saved last."
        ) from error


@contextmanager
def together(fabric: lightning.Fabric) -> Iterator[None]:
    """Around what some processes do while others wait for it: behind it all go on, or all end.

    The first process that has failed raises its error; nothing within may wait for others once it has failed.

    Raises:
        SaidElsewhereError: In all other processes.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        if fabric.world_size == 1 or _is_lost(error):
            raise
        failure = error
    if fabric.world_size == 1:
        return
    says_it = failure is not None and not isinstance(failure, SaidElsewhereError)
    rank = torch.tensor(fabric.global_rank if says_it else fabric.world_size, device=fabric.device)
    first = int(cast(Tensor, fabric.all_reduce(rank, reduce_op="min")))
    if failure is not None and first == fabric.global_rank:
        if isinstance(failure, VitsegError):
            failure.is_own = True
        raise failure
    if failure is not None or first < fabric.world_size:
        raise SaidElsewhereError("another process of this training has failed, and says why.")


def told_of_statistics(model: nn.Module, fabric: lightning.Fabric, batch_size: int) -> str | None:
    """A warning where layers normalise by the images of one process, for torch has no other on the CPU.

    Args:
        model: The model.
        fabric: The processes.
        batch_size: Images of all processes in a step.
    """
    if fabric.world_size == 1 or fabric.device.type != "cpu":
        return None
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and any(p.requires_grad for p in layer.parameters())
    ]
    if not names:
        return None
    return (
        f"on CPUs batch normalisation ({first_names(names)}) takes its statistics of the "
        f"{batch_size // fabric.world_size} images of each process, not of all {batch_size}: the training is another "
        "than that of one process."
    )


def _is_lost(error: Exception) -> bool:
    """Whether an error says that another process has ended, or does not answer."""
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST)
