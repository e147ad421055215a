"""The numbers that torch computes a model's products in."""

from __future__ import annotations

import copy
import logging
from typing import Literal, TypeVar

import torch
from torch import nn

Precision = Literal["fp32", "bf16"]
"""fp32; or bf16 as under torch's autocast: products in bfloat16, norms and softmaxes in float32."""

NARROWED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
"""Layers of nothing but products, which autocast computes in bfloat16."""

Model = TypeVar("Model", bound=nn.Module)

_log = logging.getLogger("vitseg")


def precise(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a model runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def narrowed(model: Model) -> Model:
    """A copy whose products have their weights in bfloat16, which autocast would round anew in every call."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, NARROWED):
            module.weight.data = module.weight.data.to(torch.bfloat16)
    return model


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:  # torch has no public names for them
        if torch.cpu._is_avx512_bf16_supported():  # pyright: ignore[reportPrivateUsage]
            return True
        return bool(torch.cpu._is_amx_tile_supported())  # pyright: ignore[reportPrivateUsage]
    except AttributeError:  # of another version of torch
        return False


def warn_of_bf16(device: torch.device, instead: str) -> None:
    """Say where bf16 is asked for of a device that has no instructions for it.

    Args:
        device: What computes in bf16.
        instead: What to give instead.
    """
    if not has_bf16(device):
        _log.warning(
            "%s has no instructions for bfloat16: bf16 is slower here than fp32, on a CPU several times. Give %s.",
            device,
            instead,
        )
