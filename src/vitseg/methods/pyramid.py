"""What the convolutional methods on a pyramid check of their levels."""

from __future__ import annotations

from vitseg.backbones import PyramidConfig

FIRST_STRIDE = 4
"""Of stage 0, in pixels."""


def require_levels(levels: tuple[int, ...], reads_shallowest: bool, has_auxiliary: bool) -> None:
    """Check that a decoder has the levels that it reads and no others: those would be computed for nothing.

    Args:
        levels: Of the backbone, shallow to deep.
        reads_shallowest: Whether the decoder joins the deepest level with the shallowest.
        has_auxiliary: Whether a head is trained on the second deepest level.

    Raises:
        ValueError: A level is missing, or is not read.
    """
    names = list(levels)
    if reads_shallowest and len(levels) < 2:
        raise ValueError(
            f"the decoder joins the deepest level with a shallow one, but backbone.levels is {names}: add 0, as in "
            "[0, 2, 3]"
        )
    if has_auxiliary and len(levels) < 2:
        raise ValueError(
            f"the auxiliary head reads the second deepest level, but backbone.levels is {names}: add one, as in "
            "[2, 3], or set decoder.auxiliary_dim: null"
        )
    read = {levels[-1]}
    if reads_shallowest:
        read.add(levels[0])
    if has_auxiliary:
        read.add(levels[-2])
    unread = sorted(set(levels) - read)
    if unread:
        raise ValueError(
            f"backbone.levels is {names}, of which only {sorted(read)} are read: leave {unread} out"
        )


def deepest_stride(backbone: PyramidConfig) -> int:
    """Stride of the deepest level that is read, in pixels: 32 of stage 3, unless the backbone is dilated."""
    return min(FIRST_STRIDE << backbone.levels[-1], backbone.output_stride)


def require_all_levels(backbone: PyramidConfig) -> None:
    """Raise ValueError unless the levels are 0, 1 and so on: each has half the cells of the one before."""
    levels = list(backbone.levels)
    if levels != list(range(len(levels))) or backbone.output_stride != 32:
        raise ValueError(
            f"the decoder doubles every level as often as it was halved, but backbone.levels is {levels} with "
            f"output_stride {backbone.output_stride}: give all from 0, as [0, 1, 2, 3], and leave output_stride out"
        )
