"""Fully sharded training (FSDP2): each process holds a part of weights, gradients and the optimiser's state.

A block is put together from all processes just before it runs and taken apart behind it; what is no block (patch
embedding, heads, queries) belongs to the root and is whole during a step.

Validation and saved models use a whole copy. A sharded forward is one of all processes, but in a validation each has
images of its own, of other sizes and numbers of windows. The copy is there between steps only, when there are no
activations and gradients, and scores are those of one process.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from vitseg.decoders.atm import AtmStage
from vitseg.errors import ConfigError
from vitseg.methods.model import SegmentationModel

_BLOCKS = "blocks"
"""Name of the lists of blocks in backbones and decoders."""


def require_shardable(strategy: str, precision: str, cache_features: Path | None) -> None:
    """Raise ConfigError where a sharded training is asked for together with what it does not do.

    Args:
        strategy: `training.strategy`.
        precision: The precision that is trained in, "auto" resolved.
        cache_features: Folder of kept features; None: none are kept.
    """
    if strategy != "fsdp":
        return
    if precision == "16-mixed":
        raise ConfigError(
            "training.strategy fsdp does not scale gradients, which training.precision 16-mixed (auto, on GPUs without "
            "bf16) needs: give training.precision=bf16-mixed or 32-true, or training.strategy=ddp."
        )
    if cache_features is not None:
        raise ConfigError(
            "--cache-features trains a decoder alone, of which training.strategy fsdp shards next to nothing: give "
            "training.strategy=ddp, or leave --cache-features out."
        )


def sharded_strategy(num_processes: int) -> ModelParallelStrategy:
    """How Fabric lays out a sharded training.

    Args:
        num_processes: Of all machines.
    """
    return ModelParallelStrategy(
        parallelize_fn=_shard, data_parallel_size=num_processes, tensor_parallel_size=1
    )


def units(module: nn.Module) -> Iterator[nn.Module]:
    """What is sharded by itself: the blocks of backbones and decoders, and SegViT's stages."""
    for name, part in module.named_modules():
        if isinstance(part, AtmStage):
            yield part
        elif name.rpartition(".")[2] == _BLOCKS:
            yield from _flat(part)


def _flat(blocks: nn.Module) -> Iterator[nn.Module]:
    """The members of lists, and of lists of lists."""
    for block in blocks.children():
        if isinstance(block, nn.ModuleList | nn.Sequential):
            yield from _flat(block)
        else:
            yield block


def _shard(step: nn.Module, mesh: DeviceMesh) -> nn.Module:
    # Nobody changes in place what a unit gives, which torch warns of where it is a view.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    placed = mesh["data_parallel"]
    for unit in units(step):
        fully_shard(unit, mesh=placed)
        if isinstance(unit, AtmStage):
            for method in ("on_tokens", "refine"):
                register_fsdp_forward_method(unit, method)
    fully_shard(step, mesh=placed)
    # A loss may leave a part out that the batch of another process needs: its gradient is zero then.
    reduce_unused = getattr(step, "set_reduce_scatter_unused_params", None)  # torch 2.15
    if reduce_unused is not None:
        reduce_unused(True)
    return step


class Sharding:
    """How a sharded model becomes a whole one.

    Args:
        model: The model before it is sharded.
    """

    def __init__(self, model: SegmentationModel):
        self._empty = _without_parameters(model)

    def whole(self, model: SegmentationModel) -> SegmentationModel:
        """A copy with all weights, on the model's device; all processes must call it.

        Args:
            model: The sharded one.
        """
        state = {name: whole_tensor(value) for name, value in model.state_dict().items()}
        copied = copy.deepcopy(self._empty)
        copied.load_state_dict(state, assign=True)
        return copied


def local_part(value: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


def whole_tensor(value: Tensor) -> Tensor:
    """A tensor put together from the parts that the processes hold, which all must ask for; others as they are."""
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach()


def _without_parameters(model: SegmentationModel) -> SegmentationModel:
    """A copy whose parameters take no memory."""
    empty: dict[int, Any] = {
        id(parameter): nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, empty)
