from __future__ import annotations

import pytest
import torch

from vitseg.errors import ConfigError, VitsegError
from vitseg.training.device_memory import memory_named


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_too_little_memory_is_named_with_what_takes_less(error):
    with (
        pytest.raises(VitsegError, match=r"the training ran out of memory: --fit .*accumulate"),
        memory_named(),
    ):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("another"), ConfigError("out of memory, says it")])
def test_other_errors_stay(error):
    with pytest.raises(type(error), match=str(error)), memory_named():
        raise error
