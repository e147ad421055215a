"""Models without values, for tests of sizes and names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FILLING = {
    "kaiming_uniform_", "uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_", "copy_",
}  # fmt: skip
"""What weights are initialised with; it leaves shapes as they are."""


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else named["tensor"]  # the latter of torch.nn.init
        return func(*args, **named)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Within it modules are made on the meta device, without their initialisation, which takes most of the time."""
    with torch.device("meta"), _Unfilled():
        yield
