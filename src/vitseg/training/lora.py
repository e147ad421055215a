"""LoRA: low-rank pairs on the attention of a backbone that is frozen otherwise.

Source: LoRA (ICLR 2022), section 4.1: W becomes W + alpha / rank * up @ down, and `up` starts from zeros. The pairs are
parametrisations of the weights, so that attention of every family reads the sum as its weight, and what is saved is the
very weight that was trained and validated. In training the sum exists once per layer; no gradient or optimiser's state
is kept of the frozen weights.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vitseg.errors import ConfigError
from vitseg.methods.model import SegmentationModel
from vitseg.training.encoder import blocks_of, freeze_pretrained
from vitseg.types import StateDict

LAYERS = {"qkv": ("qkv", "q_proj", "k_proj", "v_proj"), "proj": ("proj",)}
"""Names of the linear layers of an attention by target; a family has one joint projection or three."""


class LoraConfig(BaseModel):
    """Low-rank pairs that are trained in place of the backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1, description="rank of every pair")
    alpha: float = Field(
        default=16.0, gt=0, description="the pair's product is scaled by alpha / rank"
    )
    targets: tuple[Literal["qkv", "proj"], ...] = Field(
        default=("qkv", "proj"),
        min_length=1,
        description="linear layers of every attention that get a pair: the projection of queries, keys and values, "
        "and that of the output",
    )


class LowRank(nn.Module):
    """The pair of a weight, as a parametrisation of it.

    Args:
        weight: (out, in) what it is added to.
        config: Rank and scale.
    """

    def __init__(self, weight: Float[Tensor, "out in"], config: LoraConfig):
        super().__init__()
        rows, columns = weight.shape
        self.scale = config.alpha / config.rank
        self.down = nn.Parameter(weight.new_empty(config.rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, config.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """The weight with the product of the pair, in its own precision."""
        with torch.autocast(weight.device.type, enabled=False):
            return with_product(weight, self.up, self.down, self.scale)


def with_product(
    weight: Float[Tensor, "out in"],
    up: Float[Tensor, "out rank"],
    down: Float[Tensor, "rank in"],
    scale: float,
) -> Float[Tensor, "out in"]:
    """A weight with the scaled product of a pair."""
    return torch.addmm(weight, up, down, alpha=scale)


def add_lora(model: SegmentationModel, config: LoraConfig) -> None:
    """Freeze the pretrained backbone of a model, in place, but for pairs on its attention.

    The decoder, and what a method adds to the backbone, stay as they are. The pairs are among the model's
    `fresh_parts`, so that they learn at the decoder's rate.

    Raises:
        ConfigError: The backbone is neither a plain ViT nor a Swin, or a pair would have a higher rank than the weight
            that it is added to.
    """
    blocks = blocks_of(model)
    if blocks is None:
        raise ConfigError(
            "training.lora puts pairs on the attention of plain ViTs and of Swin, but the backbone is of another kind: "
            "leave it out, or set training.freeze_backbone: true."
        )
    freeze_pretrained(model)
    wanted = {layer for target in config.targets for layer in LAYERS[target]}
    pairs = []
    for start, block in blocks.blocks.items():
        for name, layer in cast(nn.Module, block.attn).named_children():
            if name in wanted and isinstance(layer, nn.Linear):
                _require_low_rank(config.rank, layer)
                pair = LowRank(layer.weight, config)
                parametrize.register_parametrization(layer, "weight", pair)
                pairs.append(f"{start}attn.{name}.parametrizations.weight.0.")
    model.fresh_parts = (*model.fresh_parts, *pairs)


def _require_low_rank(rank: int, layer: nn.Linear) -> None:
    most = min(layer.in_features, layer.out_features)
    if rank > most:
        raise ConfigError(
            f"training.lora.rank is {rank}, but the backbone has attention weights of {layer.out_features} x "
            f"{layer.in_features}: give {most} at most; 8 is usual."
        )


def merged(state: StateDict, model: SegmentationModel) -> StateDict:
    """The parameters of the model without pairs that equals one with them, which stays as it is.

    Args:
        state: Parameters of `model` by name.
        model: Says where pairs are.
    """
    plain = dict(state)
    for name, part in model.named_modules():
        if isinstance(part, LowRank):  # name: LAYER.parametrizations.weight.0
            down, up = plain.pop(f"{name}.down"), plain.pop(f"{name}.up")
            layer = name.removesuffix(".parametrizations.weight.0")
            weight = plain.pop(f"{layer}.parametrizations.weight.original")
            plain[f"{layer}.weight"] = with_product(weight, up, down, part.scale)
    return plain
