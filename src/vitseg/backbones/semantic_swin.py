"""SeMask's semantic layers for the stages of a Swin.

Source: SeMask (ICCV workshops 2023). Which stages attend within windows is what its published models have; the text
knows one kind alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.backbones.swin import Swin
from vitseg.errors import ConfigError
from vitseg.layers.semantic_attention import SemanticAttention
from vitseg.layers.windows import from_windows, padded_to_windows, to_windows
from vitseg.types import Size

FEW_CLASSES = 19
"""Up to so many, as of Cityscapes, the published models attend within windows everywhere."""

GLOBAL_WIDTHS = (96, 192)
"""Embedding widths of the Swins (T, S and L) whose published models attend globally in the two deepest stages."""


class SemanticLayersConfig(BaseModel):
    """Configuration of the semantic layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_levels: tuple[int, ...] | None = Field(
        default=None,
        description="stages whose tokens attend within windows, the others' to the whole map; null: as the published "
        "models: [0, 1] for Swin-T, S and L with more than 19 classes, else all",
    )
    window: int | None = Field(
        default=None, ge=1, description="side of a window in cells; null: that of the Swin"
    )

    @model_validator(mode="after")
    def _levels_increase(self) -> SemanticLayersConfig:
        levels = list(self.window_levels or ())
        if levels != sorted(set(levels)) or (levels and levels[0] < 0):
            raise ValueError(f"window_levels must be increasing stages from 0, got {levels}")
        return self


class SemanticLayer(nn.Module):
    """The semantic layer behind the blocks of a stage.

    Args:
        dim: Width of the stage.
        num_classes: Classes.
        window: Size of the windows within which tokens attend; None: to the whole map.
    """

    def __init__(self, dim: int, num_classes: int, window: Size | None):
        super().__init__()
        self.attention = SemanticAttention(dim, num_classes)
        self.window = window

    def forward(
        self, x: Float[Tensor, "b h w c"]
    ) -> tuple[Float[Tensor, "b h w c"], Float[Tensor, "b k h w"]]:
        """The stage's tokens, normalised, with what their like bring; and the semantic map, class logits."""
        size = x.shape[1], x.shape[2]
        normed = self.attention.norm(x)
        if self.window is None:
            change, semantic = self.attention.attend(normed.flatten(1, 2))
            change, semantic = change.unflatten(1, size), semantic.unflatten(1, size)
        else:
            change, semantic = self._attend_within_windows(normed, self.window)
        return self.attention.add(normed, change), semantic.permute(0, 3, 1, 2)

    def _attend_within_windows(
        self, normed: Tensor, window: Size
    ) -> tuple[Float[Tensor, "b h w c"], Float[Tensor, "b h w k"]]:
        batch, *size, _ = normed.shape
        height, width = padded = padded_to_windows((size[0], size[1]), window)
        # Padding follows the norm: padded tokens are zero, and are attended to like any other.
        x = F.pad(normed, (0, 0, 0, width - size[1], 0, height - size[0]))
        windows = to_windows(x, window).flatten(0, 1)  # (b*w, n, c)
        change, semantic = (
            from_windows(part.unflatten(0, (batch, -1)), padded, window)[:, : size[0], : size[1]]
            for part in self.attention.attend(windows)
        )
        return change, semantic


def add_semantic_layers(
    swin: nn.Module, config: SemanticLayersConfig, num_classes: int, *, name: str, otherwise: str
) -> None:
    """Put a semantic layer behind the blocks of every stage.

    Args:
        swin: A Swin.
        config: See `SemanticLayersConfig`.
        num_classes: Classes.
        name: The backbone's, for the error.
        otherwise: What to do for another backbone, for the error.

    Raises:
        ConfigError: It is no Swin, or the configuration names a stage that is not there.
    """
    if not isinstance(swin, Swin):
        raise ConfigError(
            f"SeMask's semantic layers are for the stages of a Swin, but backbone.name is {name}: "
            f"give a swin_*, or {otherwise}."
        )
    levels = config.window_levels
    if levels is None:
        attends_globally = swin.widths[0] in GLOBAL_WIDTHS and num_classes > FEW_CLASSES
        levels = (0, 1) if attends_globally else range(len(swin.widths))
    elif max(levels, default=0) >= len(swin.widths):
        raise ConfigError(
            f"semantic.window_levels names stage {max(levels)}, but backbone.levels ends with stage "
            f"{len(swin.widths) - 1}."
        )
    window = (config.window, config.window) if config.window is not None else swin.window
    swin.semantic = nn.ModuleList(
        SemanticLayer(width, num_classes, window if level in levels else None)
        for level, width in enumerate(swin.widths)
    )
