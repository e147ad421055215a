"""The same features of another backbone: what changes in a configuration where only the backbone's name shall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vitseg.backbones.config import BackboneConfig, CommonConfig
from vitseg.backbones.create import num_blocks
from vitseg.errors import ConfigError

Config = TypeVar("Config", bound=CommonConfig)


def with_backbone(config: Config, name: str) -> Config:
    """The configuration with another backbone; a plain ViT's taps lie at the same fractions of its depth.

    Args:
        config: The configuration.
        name: timm name of the other one.

    Raises:
        ConfigError: Unknown name, or the configuration has values that belong to its own backbone.
    """
    if name == config.name:
        return config
    bound = [field for field in ("weights", "mean", "std") if getattr(config, field) is not None]
    if bound:
        raise ConfigError(
            f"backbone.{bound[0]} belongs to {config.name}, not to {name}: leave it out, or write a recipe for {name}."
        )
    if not isinstance(config, BackboneConfig):  # every pyramid has four levels
        return config.model_copy(update={"name": name})
    taps = scaled_blocks(config.taps, num_blocks(config.name), num_blocks(name))
    if len(set(taps)) < len(taps):
        raise ConfigError(
            f"{name} has too few blocks for the {len(taps)} taps {list(config.taps)} of {config.name}."
        )
    return config.model_copy(update={"name": name, "taps": taps})


def scaled_blocks(blocks: Sequence[int], old_depth: int, new_depth: int) -> tuple[int, ...]:
    """0-based blocks at the same fractions of another depth.

    The output of block i of d is at (i + 1) / d of the depth: of 12 blocks, 5, 7 and 11 become 11, 15 and 23 of 24.
    """
    return tuple(max(0, int((block + 1) * new_depth / old_depth + 0.5) - 1) for block in blocks)
