"""What the processes of a distributed training have to agree on."""

from __future__ import annotations

import torch.distributed
from jaxtyping import Float, Shaped
from torch import Tensor


def num_processes() -> int:
    """How many processes train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def mean_over_processes(value: Shaped[Tensor, ""]) -> Float[Tensor, ""]:
    """The mean of a scalar over all processes; the value itself where there is one."""
    value = value.float()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
        value = value / torch.distributed.get_world_size()
    return value
