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
from torch import Tensor, nn

from vitseg.errors import ConfigError, VitsegError
from vitseg.evaluation.share import Share

_LOST = ("gloo", "nccl", "connection", "socket", "timed out", "peer")


def require_torchrun(devices: int, num_nodes: int) -> None:
    """Raise ConfigError where torchrun has started other numbers of processes than the recipe has."""
    local, world = os.environ.get("LOCAL_WORLD_SIZE"), os.environ.get("WORLD_SIZE")
    if local is None or world is None or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if int(local) != devices or int(world) != devices * num_nodes:
        nodes = int(world) // max(1, int(local))
        raise ConfigError(
            f"torchrun has started {local} processes on each of {nodes} machines, but the recipe has training.devices "
            f"{devices} and training.num_nodes {num_nodes}: give training.devices={local} training.num_nodes={nodes}."
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
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in _LOST):
            raise
        raise VitsegError(
            f"process {fabric.global_rank} of {fabric.world_size} has lost another one, which ended or does not "
            "answer; its own message, if it had time for one, says why. Go on with --resume from the state saved last."
        ) from error
