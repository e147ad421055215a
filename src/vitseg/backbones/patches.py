"""A trained plain ViT with another patch size: fewer, larger patches of the same image."""

from __future__ import annotations

import torch
from timm.layers import resample_patch_embed

from vitseg.backbones.patch_embed import HybridPatchEmbed
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError
from vitseg.layers.grid import resample_grid
from vitseg.types import StateDict


def require_resizable_patch(vit: PlainViT) -> None:
    """Raise ConfigError unless the patches of a ViT can be resampled."""
    if isinstance(vit.patch_embed, HybridPatchEmbed):
        raise ConfigError(f"the patches of {vit.config.name} are cells of a CNN, not pixels.")
    if vit.patch_size[0] != vit.patch_size[1]:
        raise ConfigError(f"the patches of {vit.config.name} are not square.")


def with_patch_size(state: StateDict, old: PlainViT, new: PlainViT, prefix: str = "") -> StateDict:
    """Parameters of a ViT for the same one with another patch size.

    The patch embedding is resampled so that it says of an enlarged patch what it said of the original (FlexiViT,
    CVPR 2023, section 3.4), and absolute position embeddings to the new grid.

    Args:
        state: Parameters of a model with the old ViT.
        old: The ViT that they are of.
        new: Built with the other patch size.
        prefix: Of the ViT's names in the state.

    Raises:
        ConfigError: The ViT has other parameters whose shape depends on the patch.
    """
    require_resizable_patch(old)
    resampled = dict(state)
    patch = f"{prefix}patch_embed.proj.weight"
    resampled[patch] = resample_patch_embed(state[patch], list(new.patch_size))
    if old.pos_embed is not None:
        spatial = old.grid[0] * old.grid[1]
        others, cells = state[f"{prefix}pos_embed"].split(
            [old.pos_embed.shape[1] - spatial, spatial], dim=1
        )
        cells = resample_grid(cells, old.grid, new.grid, old.config.pos_embed_interpolation)
        resampled[f"{prefix}pos_embed"] = torch.cat([others, cells], dim=1)
    for name, wanted in new.state_dict().items():
        came = resampled.get(prefix + name)
        if came is None or came.shape != wanted.shape:
            raise ConfigError(
                f"{name} of {old.config.name} depends on the patch size and cannot be resampled."
            )
    return resampled
