"""The papers' optimisers and parameter groups."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from vitseg.errors import ConfigError
from vitseg.methods.model import SegmentationModel
from vitseg.training.layer_rates import layer_scales, scale_of
from vitseg.training.lowbit import adamw_8bit

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(BaseModel):
    """AdamW or SGD as the papers use them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["adamw", "adamw8bit", "sgd"] = Field(
        default="adamw",
        description="AdamW; AdamW with states of 8 bits (needs the extra lowbit); or SGD with momentum (SETR, "
        "Segmenter)",
    )
    lr: float = Field(default=2e-5, gt=0, description="learning rate of the backbone")
    head_lr_ratio: float = Field(
        default=10.0, gt=0, description="the decoder's learning rate over the backbone's"
    )
    lr_ratios: dict[str, float] = Field(
        default_factory=dict,
        description="learning rate over the backbone's for the parameters whose names begin so, in place of "
        'head_lr_ratio, layer_decay\'s or 1 ({"decoder.upsample.": 1}); of several beginnings that fit, the longest '
        "counts",
    )
    layer_decay: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="learning rate of a block over that of the next deeper one; null: one rate for the backbone. Of L "
        "blocks, block i learns at lr * layer_decay^(L - i), what stands in front of them at lr * layer_decay^(L + 1)",
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        description="weight decay: decoupled in AdamW, added to the gradient in SGD",
    )
    decay_backbone_norms: bool = Field(
        default=False,
        description="weight decay of the backbone's normalisation layers, too (as DToP was trained)",
    )
    no_decay: tuple[str, ...] = Field(
        default=(),
        description="parameters whose names contain one of these do not decay, either "
        "([relative_position_bias_table] in the Swin recipes)",
    )
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.999), description="AdamW's betas, each in [0, 1)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD's momentum")
    clip_grad_norm: float | None = Field(
        default=35.0, gt=0, description="largest norm of the gradient; null: any"
    )

    @field_validator("lr_ratios")
    @classmethod
    def _positive(cls, ratios: dict[str, float]) -> dict[str, float]:
        for start, ratio in ratios.items():
            if not 0 < ratio < math.inf:
                raise ValueError(f"the ratio of {start!r} must be above 0, got {ratio}")
        return ratios

    @model_validator(mode="after")
    def _fields_belong_to_kind(self) -> OptimizerConfig:
        name, kind = ("betas", "adamw") if self.kind == "sgd" else ("momentum", "sgd")
        if getattr(self, name) != type(self).model_fields[name].default:
            raise ValueError(f'{name} belongs to kind "{kind}": set it, or leave {name} out')
        return self


NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm2d, nn.SyncBatchNorm)


def parameter_groups(model: SegmentationModel, config: OptimizerConfig) -> list[dict]:
    """One group per learning rate and decay, each with the `names` of its parameters.

    As in the published training: backbone normalisation layers do not decay unless asked to, everything else in the
    backbone does (biases, position embedding and class token too); every decoder parameter decays, its norms, biases
    and queries included, at `head_lr_ratio` times the learning rate, and so does an edge head. Frozen parameters are
    left out.

    With `layer_decay` every block of the backbone has a rate of its own, and so have LoRA's pairs on it.

    Raises:
        ConfigError: No parameter's name begins as one of `lr_ratios` says, or contains what `no_decay` says; or the
            backbone has no blocks for `layer_decay`, or none that is trained.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in config.no_decay:
        if not any(part in name for name in names):
            raise ConfigError(
                f"optimizer.no_decay names {part!r}, but no parameter's name of the model contains that: leave it out."
            )
    for start in config.lr_ratios:
        if not any(name.startswith(start) for name in names):
            parts = sorted({".".join(name.split(".")[:2]) + "." for name in names})
            raise ConfigError(
                f"optimizer.lr_ratios names {start!r}, but no parameter of the model begins so. They begin with: "
                f"{', '.join(parts)}"
            )
    norms = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    scales = {} if config.layer_decay is None else layer_scales(model, config.layer_decay)
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = scale_of(name, scales)
        lr, decay = rates(name, name in norms, config, model.fresh_parts, scale)
        group = groups.setdefault(
            (lr, decay), {"params": [], "names": [], "lr": lr, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def rates(
    name: str,
    is_norm: bool,
    config: OptimizerConfig,
    fresh_parts: tuple[str, ...],
    scale: float = 1.0,
) -> tuple[float, float]:
    """Learning rate and weight decay of one parameter.

    Args:
        name: Its name.
        is_norm: Whether it is a normalisation's.
        config: The optimiser's settings.
        fresh_parts: Beginnings of the names of what learns at the decoder's rate; see `SegmentationModel`.
        scale: Its rate over that of its kind, by its depth.
    """
    is_head = name.startswith(fresh_parts)
    ratio = scale * (config.head_lr_ratio if is_head else 1.0)
    for start in sorted(config.lr_ratios, key=len):
        ratio = config.lr_ratios[start] if name.startswith(start) else ratio
    is_exempt = is_norm and not is_head and not config.decay_backbone_norms
    is_exempt = is_exempt or any(part in name for part in config.no_decay)
    return config.lr * ratio, 0.0 if is_exempt else config.weight_decay


def build_optimizer(
    model: SegmentationModel, config: OptimizerConfig, fused: bool = False
) -> Optimizer:
    """The optimiser of that kind over `parameter_groups`.

    Args:
        model: What is trained.
        config: Settings of the optimiser.
        fused: AdamW in one kernel: on a CPU a fifth of the time. Not for gradients that are scaled (16-mixed), which
            could not be clipped then.
    """
    groups = [
        {key: value for key, value in group.items() if key != "names"}
        for group in parameter_groups(model, config)
    ]
    if config.kind == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.kind == "adamw8bit":
        return adamw_8bit(groups, config.lr, config.betas)
    return AdamW(groups, betas=config.betas, fused=fused or None)  # None: as torch chooses
