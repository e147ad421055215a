"""Configuration of a plain ViT backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PosEmbedInterpolation = Literal["bicubic_antialias", "bicubic", "bilinear"]
Triple = tuple[float, float, float]


class BackboneConfig(BaseModel):
    """A plain ViT by its timm name, where its weights come from and how it is used."""

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
    taps: tuple[int, ...] = Field(
        min_length=1,
        description="0-based block indices whose raw outputs are the features, shallow to deep",
    )
    tap_norm: bool = Field(
        default=False, description="apply the backbone's final norm to every tap (SegViT does not)"
    )
    prefix_tokens: Literal["keep", "drop"] = Field(
        default="keep",
        description="whether class and register tokens run through the blocks; SegViT drops them before block 0",
    )
    patch_size: int | None = Field(
        default=None,
        ge=1,
        description="patch side in pixels, if not the one in the name (the patch weights are resampled)",
    )
    pos_embed_interpolation: PosEmbedInterpolation = Field(
        default="bicubic_antialias",
        description="how absolute position embeddings are resampled to another grid: timm's way, or SegViT's "
        "(bicubic) or SETR's (bilinear)",
    )
    drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="drop-path rate of the last block, linear from 0; MLP branch",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute blocks in the backward pass to save memory"
    )
    mean: Triple | None = Field(
        default=None, description="input mean in [0, 1]; the weights' own where not given"
    )
    std: Triple | None = Field(
        default=None,
        description="input standard deviation in [0, 1]; the weights' own where not given",
    )

    @model_validator(mode="after")
    def _consistent(self) -> BackboneConfig:
        if self.weights is not None and not self.pretrained:
            raise ValueError(
                "weights names a file but pretrained is false: set pretrained: true or leave weights out"
            )
        if list(self.taps) != sorted(set(self.taps)) or self.taps[0] < 0:
            raise ValueError(f"taps must be increasing block indices from 0, got {list(self.taps)}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")
        return self
