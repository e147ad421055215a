"""Values that no weights can have: quantised integers without their scale, complex numbers, and what is no number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitseg.errors import CheckpointError, first_names
from vitseg.types import StateDict

_WEIGHTS = ("weight", "bias", "pos_embed", "cls_token")
"""Ends of names whose values are multiplied or added; tables of indices and counts are integers."""

_QUANTISED = (torch.int8, torch.uint8)


def require_usable(tensors: StateDict, where: str) -> None:
    """Raise CheckpointError where weights of a foreign file cannot be used as they are.

    Args:
        tensors: By their names in the file.
        where: The file, for the error.
    """
    integers = [
        f"{name} ({str(value.dtype).removeprefix('torch.')})"
        for name, value in tensors.items()
        if value.is_complex() or (name.endswith(_WEIGHTS) and value.dtype in _QUANTISED)
    ]
    if integers:
        raise CheckpointError(
            f"{where}: {first_names(integers)}: quantised or other weights that are no floating-point numbers are not "
            "read, since their scale lies elsewhere. Take the file from before the quantisation."
        )
    broken = [name for name, value in tensors.items() if _is_broken(name, value)]
    if broken:
        raise CheckpointError(
            f"{where}: {first_names(broken)} {'holds' if len(broken) == 1 else 'hold'} values that are no numbers (NaN "
            "or infinite): the training that wrote it had diverged, or the values were too large for its precision. "
            "Take an earlier checkpoint."
        )


def _is_broken(name: str, value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return False
    if value.element_size() == 1:  # torch compares no numbers of 8 bits
        value = value.float()
    least, most = torch.aminmax(value)  # NaN where any is: nothing is allocated
    limits = torch.stack([least, most]).float()
    # Masks of attention hold -inf.
    return bool(limits.isnan().any()) or (name.endswith(_WEIGHTS) and bool(limits.isinf().any()))


def wrong_kinds(state: StateDict, wanted: Mapping[str, Tensor]) -> list[str]:
    """Names of integers where a model has floating-point numbers, which would be taken for these."""
    return [
        f"{name} is {str(state[name].dtype).removeprefix('torch.')} in the file"
        for name, value in wanted.items()
        if name in state and value.is_floating_point() and not state[name].is_floating_point()
    ]
