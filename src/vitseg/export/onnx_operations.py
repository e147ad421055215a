"""What ONNX has for operations that torch's exporter does not write: those that drop tokens by what is in an image."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from vitseg.runtimes.extra import import_extra

MOST = 2**63 - 1


def translations() -> dict[Any, Callable[..., Any]]:
    """ONNX forms, by the operation of torch.

    Raises:
        ConfigError: A package of the extra is missing.
    """
    ops = import_extra("onnxscript", "onnxscript").opset20
    aten = torch.ops.aten

    def sort_stable(
        values: Any, *, stable: bool = True, dim: int = -1, descending: bool = False
    ) -> Any:
        # of equal values TopK gives the first first
        del stable
        length = ops.Shape(values, start=dim, end=None if dim == -1 else dim + 1)
        return ops.TopK(values, length, axis=dim, largest=int(descending), sorted=1)

    def at_most(length: Any, limit: Any) -> Any:
        # what tracing notes of lengths that nobody knows goes beyond 64 bits
        return ops.LessOrEqual(length, min(limit, MOST) if isinstance(limit, int) else limit)

    return {aten.sort.stable: sort_stable, operator.le: at_most}
