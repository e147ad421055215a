"""Which windows a large image is run in, and how much of it is held at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitseg.errors import ConfigError
from vitseg.images.raster_reader import READ_BYTES
from vitseg.inference.window_scores import window_starts
from vitseg.types import Size

RUNTIME_BYTES = 120_000_000
"""Allowance for what libraries hold, and for memory that the allocator has not yet given back."""


@dataclass(frozen=True)
class Block:
    """Columns of the image that are run from top to bottom, held one window row at a time.

    Attributes:
        left: First column that is read.
        width: Columns that are read and whose scores are held.
        owned: Half-open range of the columns whose labels this block gives; neighbours give those beside it.
        lefts: First column of every window.
    """

    left: int
    width: int
    owned: tuple[int, int]
    lefts: tuple[int, ...]


@dataclass(frozen=True)
class TilePlan:
    """How an image is run in windows.

    Attributes:
        window: (height, width) of every window: the crop, or the image's side where that is smaller.
        tops: First row of every window row.
        blocks: Column blocks, left to right.
        batch_size: Windows that go through the model together.
        num_bytes: Memory that this takes at most, above the loaded model.
    """

    window: Size
    tops: tuple[int, ...]
    blocks: tuple[Block, ...]
    batch_size: int
    num_bytes: int


def plan_tiles(
    size: Size,
    crop_size: Size,
    stride: Size,
    num_classes: int,
    max_memory: int,
    window_bytes: int,
    held_bytes: int = 0,
    largest_batch: int = 1,
) -> TilePlan:
    """As few column blocks as the memory allows; then windows per batch.

    A pixel column of a block takes, for every row of a window, a float32 score per class and `READ_BYTES` of image.
    Windows on both sides of a border between blocks are run twice, once for either block, so that the labels do not
    depend on the memory.

    Args:
        size: (height, width) of the image.
        crop_size: (height, width) of the windows.
        stride: (down, right) step of the windows.
        num_classes: Classes.
        max_memory: Bytes above the loaded model.
        window_bytes: Bytes that the model takes to run one window.
        held_bytes: Bytes that the open image takes.
        largest_batch: Most windows per batch.

    Raises:
        ConfigError: Even the narrowest blocks take more; the message names the least memory.
    """
    window = min(crop_size[0], size[0]), min(crop_size[1], size[1])
    column_bytes = window[0] * (4 * (num_classes + 1) + READ_BYTES + 4)
    fixed = RUNTIME_BYTES + held_bytes + window_bytes
    lefts = window_starts(size[1], crop_size[1], stride[1])
    narrowest = _blocks(lefts, window[1], size[1], 0)
    least = fixed + column_bytes * max(block.width for block in narrowest)
    if max_memory < least:
        raise ConfigError(
            f"max_memory is {max_memory:,} bytes, but windows of {window[1]}x{window[0]} pixels with {num_classes} "
            f"classes take {least:,} here. Give at least {-(-least // 10**6)}MB."
        )
    blocks = _blocks(lefts, window[1], size[1], (max_memory - fixed) // column_bytes)
    taken = fixed + column_bytes * max(block.width for block in blocks)
    batch_size = min(largest_batch, 1 + (max_memory - taken) // max(1, window_bytes))
    return TilePlan(
        window=window,
        tops=tuple(window_starts(size[0], crop_size[0], stride[0])),
        blocks=tuple(blocks),
        batch_size=batch_size,
        num_bytes=taken + (batch_size - 1) * window_bytes,
    )


def _blocks(lefts: Sequence[int], window_width: int, width: int, max_width: int) -> list[Block]:
    """Blocks of at most `max_width` columns; where even one step of the windows is wider, of one step."""
    borders = [*lefts[1:], width]
    blocks: list[Block] = []
    start = 0
    while start < width:
        later = [border for border in borders if border > start]
        candidates = [_block(lefts, window_width, start, stop) for stop in later]
        fitting = [block for block in candidates if block.width <= max_width]
        block = fitting[-1] if fitting else candidates[0]
        blocks.append(block)
        start = block.owned[1]
    return blocks


def _block(lefts: Sequence[int], window_width: int, start: int, stop: int) -> Block:
    touching = tuple(left for left in lefts if left < stop and left + window_width > start)
    width = touching[-1] + window_width - touching[0]
    return Block(touching[0], width, (start, stop), touching)
