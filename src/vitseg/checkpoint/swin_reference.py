"""Swin backbones of published segmentation checkpoints (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vitseg.errors import CheckpointError

LEFT_OUT = ".relative_position_index"
"""A table of constants, stored as a buffer."""

_BLOCK = re.compile(r"^stages\.(\d+)\.blocks\.(\d+)\.(.+)$")
_MERGING = re.compile(r"^stages\.(\d+)\.downsample\.(norm|reduction)\.(weight|bias)$")
_NORM = re.compile(r"^norm(\d)\.(weight|bias)$")
_BLOCK_RENAMES = (
    ("attn.w_msa.", "attn."),
    ("ffn.layers.0.0.", "mlp.fc1."),
    ("ffn.layers.1.", "mlp.fc2."),
)


def swin_name(name: str) -> str | None:
    """Our name of a reference parameter; None if it is not one of a Swin."""
    if name.startswith("patch_embed.projection."):
        return name.replace("projection", "proj")
    if name.startswith("patch_embed.norm."):
        return name
    if match := _NORM.match(name):
        return f"norms.{match[1]}.{match[2]}"
    if match := _MERGING.match(name):  # there at the end of a stage, here at the start of the next
        return f"layers.{int(match[1]) + 1}.downsample.{match[2]}.{match[3]}"
    match = _BLOCK.match(name)
    if not match:
        return None
    rest = match[3]
    for old, new in _BLOCK_RENAMES:
        rest = rest.replace(old, new)
    return f"layers.{match[1]}.blocks.{match[2]}.{rest}"


def convert_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a reference Swin in our names and our order of channels.

    Args:
        state: By the reference's names without their prefix `backbone.`.

    Raises:
        CheckpointError: It holds parameters that no Swin has.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(LEFT_OUT):
            continue
        ours = swin_name(name)
        if ours is None:
            raise CheckpointError(
                f"backbone.{name} is no parameter of a Swin: only Swin and plain ViT backbones in the published "
                "parameter names can be converted."
            )
        value = value.float()
        converted[ours] = _neighbours_first(value) if _MERGING.match(name) else value
    return converted


def _neighbours_first(value: Tensor) -> Float[Tensor, "... c"]:
    """Patch merging's columns, from unfold's order to that of concatenated neighbours.

    The reference unfolds 2 x 2 neighbours channel by channel, row by row: column 4c + 2 row + column. timm, as the
    Swin authors, concatenates the neighbours (0, 0), (1, 0), (0, 1), (1, 1), each with all its channels. The output
    rows of `reduction` stay as they are.
    """
    columns = value.unflatten(-1, (-1, 2, 2))  # (..., c, row, column)
    return columns.movedim(-3, -1).transpose(-3, -2).flatten(-3)
