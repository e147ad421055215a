"""A Swin's parameters as the authors' files and mmsegmentation's have them: the inverse of what is tested."""

from __future__ import annotations

import re

import torch
from torch import Tensor

INDEX = torch.zeros(4, dtype=torch.long)
MMSEG = (
    ("patch_embed.proj.", "patch_embed.projection."),
    ("layers.", "stages."),
    (".attn.", ".attn.w_msa."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
)


def as_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Patch merging at the end of the stage before, a norm per level with its number, an index in every block."""
    renamed = {}
    for name, value in state.items():
        name = re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
        )
        renamed[re.sub(r"^norms\.(\d)\.", r"norm\1.", name)] = value
        if name.endswith("relative_position_bias_table"):
            renamed[name.replace("bias_table", "index")] = INDEX
    return renamed


def as_mmseg(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors', renamed, with the columns of patch merging in unfold's order: channel, row, column."""
    renamed = {}
    for name, value in as_authors(state).items():
        if ".downsample." in name:
            groups = value.unflatten(-1, (4, -1))  # of (row, column): 00, 10, 01, 11
            value = groups[..., [0, 2, 1, 3], :].transpose(-1, -2).flatten(-2)
        for ours, theirs in MMSEG:
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed
