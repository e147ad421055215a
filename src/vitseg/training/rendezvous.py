"""How the processes of torchrun find each other, also when it has started them again."""

from __future__ import annotations

import atexit
import os
import time
import uuid

import torch
from torch.distributed import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from vitseg.errors import VitsegError
from vitseg.launch import is_of_torchrun

_TIMEOUT = 600.0
_PAUSE = 0.02


def join_processes(device_type: str) -> None:
    """Connect the processes that torchrun has started; it does nothing where there is one, or another start.

    torchrun keeps its store while it starts processes anew, and in it where those of before have listened: a process
    that is quicker than its neighbour would wait for one that has ended. What these write is therefore apart from what
    was written before.

    Args:
        device_type: `cpu` or `cuda`.

    Raises:
        VitsegError: Not all processes have come within ten minutes.
    """
    if not is_of_torchrun() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    store, rank, world_size = next(iter(rendezvous("env://")))
    name = agree_on_name(store, rank, world_size)
    backend = torch.distributed.Backend.default_device_backend_map.get(device_type, "gloo")
    torch.distributed.init_process_group(
        backend, store=PrefixStore(name, store), rank=rank, world_size=world_size
    )
    if backend == "nccl":
        atexit.register(_leave)


def agree_on_name(store: Store, rank: int, world_size: int, timeout: float = _TIMEOUT) -> str:
    """A name that all processes of one start have in common, and no others, though their store is older.

    Each shows a number of its own, and takes the name that the first process gives to this number.

    Args:
        store: What all processes read and write; others may have used it.
        rank: Number of this process.
        world_size: How many there are.
        timeout: Seconds to wait for the others.

    Raises:
        VitsegError: They have not come by then.
    """
    until = time.monotonic() + timeout
    if rank == 0:
        name = f"vitseg/{uuid.uuid4().hex}"
        missing = set(range(1, world_size))
        while missing:
            for other in sorted(missing):
                if store.check([f"{name}/{other}"]):
                    missing.discard(other)
                elif store.check([_shown_by(other)]):
                    store.set(_given_to(store.get(_shown_by(other)).decode()), name)
            _wait(until, missing)
        return name
    number = uuid.uuid4().hex
    store.set(_shown_by(rank), number)
    while not store.check([_given_to(number)]):
        _wait(until, {0})
    name = store.get(_given_to(number)).decode()
    store.set(f"{name}/{rank}", "")
    return name


def _shown_by(rank: int) -> str:
    return f"vitseg/shown/{rank}"


def _given_to(number: str) -> str:
    return f"vitseg/given/{number}"


def _wait(until: float, missing: set[int]) -> None:
    """Pause while processes are missing."""
    if not missing:
        return
    if time.monotonic() > until:
        raise VitsegError(
            f"process {min(missing)} of this training has not come: see whether it was started, and its message."
        )
    time.sleep(_PAUSE)


def _leave() -> None:
    """End the connection before Python does, which NCCL asks for."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
