"""Swin backbones of published segmentation checkpoints (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published files: those of the Swin authors' repository, which SeMask has,
too, and mmsegmentation's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vitseg.backbones.swin_names import in_our_order, is_constant, swin_name
from vitseg.checkpoint.reference_names import count, shape_of
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

SWINS: dict[tuple[int, tuple[int, ...], int], str] = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
"""timm's name of the Swin with a width, numbers of blocks and side of a window."""

LEVELS = (0, 1, 2, 3)

_PREFIX = "backbone."
_AUTHORS = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
_MMSEG = "backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"


def has_swin(names: Iterable[str]) -> bool:
    """Whether the backbone in a checkpoint is a Swin, in the authors' names or in mmsegmentation's."""
    return not {_AUTHORS, _MMSEG}.isdisjoint(names)


def swin_config(state: StateDict) -> dict[str, Any]:
    """The configuration of a checkpoint's backbone, all of whose stages are read.

    Args:
        state: Parameters by the reference's names.

    Raises:
        CheckpointError: Its size is that of no Swin.
    """
    is_mmseg = _MMSEG in state
    patches, stages = ("projection", "stages") if is_mmseg else ("proj", "layers")
    width = shape_of(state, f"backbone.patch_embed.{patches}.weight", 4)[0]
    depths = tuple(
        count(state, rf"backbone\.{stages}\.{stage}\.blocks\.(\d+)\.") for stage in range(4)
    )
    table = shape_of(state, _MMSEG if is_mmseg else _AUTHORS, 2)
    window = (round(table[0] ** 0.5) + 1) // 2
    if (width, depths, window) not in SWINS:
        raise CheckpointError(
            f"no known Swin has width {width}, {depths} blocks and windows of {window}. Known: "
            f"{', '.join(SWINS.values())}."
        )
    return {"name": SWINS[width, depths, window], "pretrained": False, "levels": LEVELS}


def convert_swin(state: StateDict) -> StateDict:
    """The parameters of a reference Swin in our names and our order of channels, as float32.

    Args:
        state: Parameters by the reference's names without their prefix `backbone.`.

    Raises:
        CheckpointError: It holds parameters that no Swin has.
    """
    converted: StateDict = {}
    for name, value in state.items():
        if is_constant(name):
            continue
        ours = swin_name(name)
        if ours is None:
            raise CheckpointError(
                f"backbone.{name} is no parameter of a Swin: only Swin and plain ViT backbones in the published "
                "parameter names can be converted."
            )
        converted[ours] = in_our_order(name, value.float())
    return converted


def split_swin(state: StateDict) -> tuple[StateDict, StateDict]:
    """The backbone of a checkpoint, converted, and all else as it is.

    Raises:
        CheckpointError: The backbone holds parameters that no Swin has.
    """
    inner = {n.removeprefix(_PREFIX): v for n, v in state.items() if n.startswith(_PREFIX)}
    outer = {n: v for n, v in state.items() if not n.startswith(_PREFIX)}
    return {_PREFIX + name: value for name, value in convert_swin(inner).items()}, outer
