"""How many workers of `vitseg predict --engine ray` there are, and what each has of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitseg.errors import ConfigError


@dataclass(frozen=True)
class Scale:
    """Workers.

    Attributes:
        workers: How many.
        cpus: Processors of each.
        gpus: GPUs of each.
        threads: That each computes with.
    """

    workers: int
    cpus: int
    gpus: int
    threads: int


def scale_of(
    workers: int | None, device: str, cpus: Sequence[int], gpus: Sequence[int], threads: int | None
) -> Scale:
    """The workers of machines.

    Args:
        workers: As asked for; None: one for each GPU, else one for each machine, with all its processors.
        device: "auto", "cpu" or "cuda".
        cpus: Processors of each machine.
        gpus: GPUs of each machine.
        threads: Of each worker, as asked for; None: as many as it has processors.

    Raises:
        ConfigError: There are fewer GPUs or processors than workers.
    """
    if device == "cuda" or (device == "auto" and sum(gpus)):
        wanted = max(1, sum(gpus)) if workers is None else workers
        if wanted > sum(gpus):
            raise ConfigError(
                f"{wanted} workers need a GPU each, but Ray knows of {sum(gpus)}: give fewer --workers, or "
                "--device cpu."
            )
        return Scale(wanted, 1, 1, threads or max(1, sum(cpus) // wanted))
    usable = [number for number in cpus if number > 0]
    if workers is None:
        each = min(usable, default=0)
        workers = sum(number // each for number in usable) if each else 1
    else:
        each = next(
            (
                size
                for size in range(max(usable, default=0), 0, -1)
                if sum(number // size for number in usable) >= workers
            ),
            0,
        )
    if not each:
        raise ConfigError(
            f"{workers} workers need a processor each, but Ray knows of {sum(usable)}: give fewer --workers."
        )
    return Scale(workers, each, 0, threads or each)
