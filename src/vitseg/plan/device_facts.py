"""What a plan knows of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from vitseg.inference.precision import has_bf16
from vitseg.machine import memory_total, num_cores

_USUAL_MEMORY = 8 * 2**30
"""Bytes, where the system does not tell."""


@dataclass(frozen=True)
class DeviceFacts:
    """The device that is trained on.

    Attributes:
        kind: Its type.
        name: Its name for people.
        memory: Bytes of its memory; of a CPU, of the machine, or as much of it as the container may have.
        cores: Cores of the CPU that this process may use.
        has_bf16: Whether it has instructions for bf16.
    """

    kind: Literal["cuda", "mps", "cpu"]
    name: str
    memory: int
    cores: int
    has_bf16: bool

    @property
    def gigabytes(self) -> float:
        return self.memory / 2**30

    def words(self) -> str:
        """The device in a few words."""
        if self.kind == "cpu":
            cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
            return f"a CPU of {cores} and {self.gigabytes:.0f} GB"
        return f"{self.name} with {self.gigabytes:.0f} GB"


def device_facts() -> DeviceFacts:
    """Look at the machine: the device that training takes by itself."""
    cores, memory = num_cores(), memory_total() or _USUAL_MEMORY
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        bf16 = has_bf16(torch.device("cuda"))
        return DeviceFacts("cuda", found.name, found.total_memory, cores, bf16)
    if torch.backends.mps.is_available():
        return DeviceFacts("mps", "an Apple GPU", memory, cores, False)
    return DeviceFacts("cpu", "CPU", memory, cores, has_bf16(torch.device("cpu")))


def num_workers(facts: DeviceFacts) -> int:
    """Processes that load samples: on a CPU the steps want its cores, so there are few."""
    if facts.kind == "cpu":
        return 0 if facts.cores <= 2 else min(2, facts.cores // 4)
    return max(0, min(8, facts.cores - 1))
