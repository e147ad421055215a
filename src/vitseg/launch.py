"""Which processes were started for one work, and which of them this one is."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from vitseg.errors import ConfigError

Starter = Literal["torchrun", "vitseg", "SLURM", "WORLD_SIZE"]
"""Who has started the processes; `WORLD_SIZE`: somebody who says their number by that variable alone."""

_MARK = "VITSEG_PROCESSES"
"""What the first process of a training on several devices leaves to those that it starts: its id and their number."""


class Started(NamedTuple):
    """The processes of one work.

    Attributes:
        by: Who has started them; None: nobody says, and this is one by itself.
        number: How many there are, over all machines.
        rank: Number of this one among them.
        local_rank: Its number on its machine.
    """

    by: Starter | None
    number: int
    rank: int
    local_rank: int

    @property
    def is_own(self) -> bool:
        """Whether the first of them has started the others, which do all from the beginning that it has done."""
        return self.by == "vitseg"


def started() -> Started:
    """The processes that were really started, not those that could be.

    Of SLURM the numbers of a step count: those of a job are set in its batch script and in shells of `salloc`, too,
    where one process runs.
    """
    local, world, rank = _number("LOCAL_RANK") or 0, _number("WORLD_SIZE"), _number("RANK")
    if is_of_torchrun() and world is not None and rank is not None:
        return Started("torchrun", world, rank, local)
    if (own := _started_here(local)) is not None:
        return own
    tasks, task = _number("SLURM_STEP_NUM_TASKS"), _number("SLURM_PROCID")
    if tasks is not None and task is not None:
        return Started("SLURM", tasks, task, _number("SLURM_LOCALID") or 0)
    if world is not None and rank is not None:
        return Started("WORLD_SIZE", world, rank, local)
    return Started(None, 1, local, local)


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes, of all that were started for one work."""
    return started().rank == 0


def is_repeating() -> bool:
    """Whether the first process of a training has started this one, which runs the same command from its beginning.

    What that command does once, before the training or behind it, is not this process' to do.
    """
    found = started()
    return found.is_own and found.rank > 0


def require_one_start(what: str) -> None:
    """See that a command that does more than to train was started once: it starts further processes by itself.

    Args:
        what: What does it, as the user knows it.

    Raises:
        ConfigError: torchrun, SLURM or another launcher has started it several times.
    """
    found = started()
    if found.number > 1 and not found.is_own:
        raise ConfigError(
            f"{what} was started {found.number} times ({found.by}), and each would do all of it: start it once, by "
            "itself. With training.devices=N it starts the further processes of its trainings on this machine."
        )


def will_start(number: int) -> None:
    """Say, before this process starts others, how many it makes with them."""
    os.environ[_MARK] = f"{os.getpid()} {number}"


def is_of_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _started_here(local: int) -> Started | None:
    """The processes that a first one has started from within; None: this is none of them."""
    first, _, number = os.environ.get(_MARK, "").partition(" ")
    if not number.isdigit() or (first == str(os.getpid())) != (local == 0):
        return None  # left by a process that has started this one for another work
    return Started("vitseg", int(number), local, local)


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else None
