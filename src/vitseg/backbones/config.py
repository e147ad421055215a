"""Configuration of the backbones: plain ViTs by their taps, pyramids by their levels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from vitseg.layers.grid import GridInterpolation

Triple = tuple[float, float, float]


class CommonConfig(BaseModel):
    """What every backbone has: a timm name, and where its weights come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        description="timm model name, with or without a weight tag (vit_base_patch16_384)"
    )
    pretrained: bool = Field(default=True, description="start from pretrained weights")
    weights: Path | None = Field(
        default=None,
        description="take the pretrained weights from this file (timm's names; .safetensors, .npz or .pth) instead "
        "of timm's download",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute blocks in the backward pass to save memory"
    )
    channels: tuple[Literal["red", "green", "blue", "other"], ...] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="what each channel of the input is; training fills it in from data.bands, see "
        "`channels.py`; null: red, green and blue",
    )
    mean: Triple | None = Field(
        default=None, description="input mean in [0, 1]; the weights' own where not given"
    )
    std: Triple | None = Field(
        default=None,
        description="input standard deviation in [0, 1]; the weights' own where not given",
    )

    @model_validator(mode="after")
    def _consistent_weights(self) -> CommonConfig:
        if self.weights is not None and not self.pretrained:
            raise ValueError(
                "weights names a file but pretrained is false: set pretrained: true or leave weights out"
            )
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")
        return self


class BackboneConfig(CommonConfig):
    """A plain ViT by its timm name, where its weights come from and how it is used."""

    taps: tuple[int, ...] = Field(
        min_length=1,
        description="0-based block indices whose raw outputs are the features, shallow to deep",
    )
    tap_norm: bool = Field(
        default=False, description="apply the backbone's final norm to every tap (SegViT does not)"
    )
    prefix_tokens: Literal["keep", "class", "drop"] = Field(
        default="keep",
        description="which of the class, distillation and register tokens run through the blocks: all, the class token "
        "alone (SETR on a distilled DeiT), or none (SegViT and SETR-MLA drop them before block 0)",
    )
    weights_grid: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="(height, width) in patches of the position embeddings in the file that `weights` names, where "
        "they are of no square crop and the file does not say so",
    )
    patch_size: int | None = Field(
        default=None,
        ge=1,
        description="patch side in pixels, if not the one in the name (the patch weights are resampled)",
    )
    pos_embed_interpolation: GridInterpolation = Field(
        default="bicubic_antialias",
        description="how absolute position embeddings are resampled to another grid: timm's way, or SegViT's "
        "(bicubic) or SETR's (bilinear)",
    )
    norm_eps: float | None = Field(
        default=None,
        gt=0,
        description="what every LayerNorm adds to the variance, if not the model's own (1e-6 of timm's ViTs); "
        "Segmenter's published weights were trained with 1e-5",
    )
    drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="drop-path rate of the last block, linear from 0; MLP branch",
    )

    @model_validator(mode="after")
    def _grid_is_of_a_file(self) -> BackboneConfig:
        if self.weights_grid is not None and self.weights is None:
            raise ValueError(
                "weights_grid is the grid of the file that weights names, but it names none: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _taps_increase(self) -> BackboneConfig:
        _check_increasing("taps", "block", self.taps)
        return self


class PyramidConfig(CommonConfig):
    """A pyramid backbone by its name: its stages halve the resolution. `create_pyramid` has the kinds."""

    name: str = Field(
        description="timm's name of a ResNet, ResNeXt, ConvNeXt, Swin or Twins, with or without a weight tag; or "
        "resnet18c, resnet34c, mit_b0 ... mit_b5"
    )
    weights: Path | None = Field(
        default=None,
        description="take the pretrained weights from this file (.safetensors, .pth or .bin) instead of a download, in "
        "timm's names; of a ResNet also in those of mmsegmentation's v1c, of a Swin in its authors' or "
        "mmsegmentation's, of a MiT in those of transformers, of its authors or of mmsegmentation",
    )
    levels: tuple[int, ...] = Field(
        min_length=1,
        description="0-based stages whose outputs are the features, shallow to deep; stage 0 has stride 4",
    )
    output_stride: Literal[32, 16, 8] = Field(
        default=32,
        description="stride of the deepest stage in pixels; below 32 the last stages keep the resolution of those "
        "before them and are dilated (ResNet, ResNeXt and ConvNeXt only)",
    )
    frozen_stages: int = Field(
        default=0,
        ge=0,
        description="how many stages, with what lies before the first, are not trained: no gradients, and their "
        "normalisations keep the pretrained statistics (not of a Swin)",
    )
    drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="drop-path rate of the last block, linear from 0; every residual branch",
    )

    @model_validator(mode="after")
    def _levels_increase(self) -> PyramidConfig:
        _check_increasing("levels", "stage", self.levels)
        return self


def require_one_normed_tap(config: BackboneConfig, method: str) -> None:
    """Raise ValueError unless one block is read, behind the final norm; `method` says for whom, as "a Segmenter"."""
    if len(config.taps) != 1:
        raise ValueError(
            f"{method} reads one block, but backbone.taps names {list(config.taps)}: give the last"
        )
    if not config.tap_norm:
        raise ValueError(
            f"{method} reads the tokens behind the backbone's final norm: set backbone.tap_norm: true"
        )


def _check_increasing(field: str, noun: str, indices: tuple[int, ...]) -> None:
    if list(indices) != sorted(set(indices)) or indices[0] < 0:
        raise ValueError(f"{field} must be increasing {noun} indices from 0, got {list(indices)}")


def _by_fields(value: Any) -> CommonConfig:
    """A union would report the faults of both kinds, so the kind is settled first: only pyramids have `levels`."""
    if isinstance(value, CommonConfig):
        return value
    is_pyramid = isinstance(value, Mapping) and "levels" in value
    if is_pyramid and "taps" in value:
        raise ValueError("taps are for plain ViTs, levels for pyramids: leave one of them out")
    return (PyramidConfig if is_pyramid else BackboneConfig).model_validate(value)


AnyBackboneConfig = Annotated[BackboneConfig | PyramidConfig, BeforeValidator(_by_fields)]
"""For methods that take either kind: the one with `levels` is a pyramid."""
