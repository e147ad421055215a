"""Parameter names of Swins in files, and their order of channels.

They are timm's, which are ours, those of the Swin authors, or mmsegmentation's. Source: the parameter names and shapes
of the published files.
"""

from __future__ import annotations

import re

from jaxtyping import Float
from torch import Tensor

from vitseg.types import StateDict

_BUFFERS = (".relative_position_index", ".attn_mask")
"""Tables of constants, which some files hold."""

_AUTHORS_MERGING = re.compile(r"^layers\.(\d+)\.downsample\.((?:norm|reduction)\.(?:weight|bias))$")
_AUTHORS_PLAIN = re.compile(
    r"^(patch_embed\.(proj|norm)\.|layers\.\d+\.blocks\.\d+\.(norm[12]|attn|mlp)\.).+$"
)
_MMSEG_BLOCK = re.compile(r"^stages\.(\d+)\.blocks\.(\d+)\.(.+)$")
_MMSEG_MERGING = re.compile(r"^stages\.(\d+)\.downsample\.((?:norm|reduction)\.(?:weight|bias))$")
_MMSEG_LAYERS = (
    ("attn.w_msa.", "attn."),
    ("ffn.layers.0.0.", "mlp.fc1."),
    ("ffn.layers.1.", "mlp.fc2."),
)
_LEVEL_NORM = re.compile(r"^norm(\d)\.(weight|bias)$")


def is_constant(name: str) -> bool:
    """Whether an entry of a file is a table that the model computes."""
    return name.endswith(_BUFFERS)


def swin_name(name: str) -> str | None:
    """Our name of a parameter in the authors' or mmsegmentation's names; None if it is not one of a Swin."""
    if name.startswith("patch_embed.projection."):
        return name.replace("projection", "proj")
    if match := _LEVEL_NORM.match(name):
        return f"norms.{match[1]}.{match[2]}"
    if match := _AUTHORS_MERGING.match(name) or _MMSEG_MERGING.match(name):
        # there at the end of a stage, here at the start of the next
        return f"layers.{int(match[1]) + 1}.downsample.{match[2]}"
    if _AUTHORS_PLAIN.match(name):
        return name
    match = _MMSEG_BLOCK.match(name)
    if not match:
        return None
    rest = match[3]
    for old, new in _MMSEG_LAYERS:
        rest = rest.replace(old, new)
    return f"layers.{match[1]}.blocks.{match[2]}.{rest}"


def in_our_order(name: str, value: Tensor) -> Tensor:
    """A parameter with its columns in our order.

    Args:
        name: In the authors' or mmsegmentation's names.
        value: As the file has it.
    """
    return _neighbours_first(value) if _MMSEG_MERGING.match(name) else value


def rename_swin(state: StateDict) -> StateDict:
    """A Swin in timm's names and order, without tables of constants; names of no known naming stay as they are.

    Args:
        state: The parameters of a backbone, in any of the three namings.
    """
    # timm, too, has layers.1.downsample, but before the blocks: only the authors' stage 0 has one.
    is_timms = not any(name.startswith(("stages.", "layers.0.downsample.")) for name in state)
    return {
        (None if is_timms else swin_name(name)) or name: in_our_order(name, value)
        for name, value in state.items()
        if not is_constant(name)
    }


def _neighbours_first(value: Tensor) -> Float[Tensor, "... c"]:
    """Patch merging's columns, from unfold's order to that of concatenated neighbours.

    mmsegmentation unfolds 2 x 2 neighbours channel by channel, row by row: column 4c + 2 row + column. timm, as the
    Swin authors, concatenates the neighbours (0, 0), (1, 0), (0, 1), (1, 1), each with all its channels. The output
    rows of `reduction` stay as they are.
    """
    columns = value.unflatten(-1, (-1, 2, 2))  # (..., c, row, column)
    return columns.movedim(-3, -1).transpose(-3, -2).flatten(-3)
