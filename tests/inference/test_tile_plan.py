from __future__ import annotations

import re

import numpy as np
import pytest

from vitseg.errors import ConfigError
from vitseg.images.raster_reader import READ_BYTES
from vitseg.inference.options import parse_memory
from vitseg.inference.tile_plan import RUNTIME_BYTES, plan_tiles
from vitseg.inference.window_scores import window_starts

SIZE, CROP, STRIDE, CLASSES = (20_000, 20_000), (512, 512), (384, 384), 19
WINDOW_BYTES, HELD_BYTES = 50_000_000, 40_000_000
FIXED = RUNTIME_BYTES + WINDOW_BYTES + HELD_BYTES


def plan(max_memory: int, size=SIZE, crop=CROP, stride=STRIDE, classes=CLASSES, largest_batch=1):
    return plan_tiles(
        size, crop, stride, classes, max_memory, WINDOW_BYTES, HELD_BYTES, largest_batch
    )


def test_memory_is_that_of_scores_and_pixels_of_a_window_row():
    """512 rows of 20,000 columns: 19 float32 scores (778 MB), one more plane, the pixels and their masks."""
    whole = plan(10**10)
    assert len(whole.blocks) == 1
    assert whole.blocks[0].width == 20_000
    assert whole.num_bytes == FIXED + 512 * 20_000 * (19 * 4 + 4 + READ_BYTES + 4)


@pytest.mark.parametrize("max_memory", [4 * 10**8, 6 * 10**8, 10**9, 10**10])
def test_a_plan_stays_within_the_memory_at_any_height(max_memory):
    plans = [plan(max_memory, size=(height, 20_000)) for height in (1_000, 20_000, 10**6)]
    assert max(one.num_bytes for one in plans) <= max_memory
    assert len({one.num_bytes for one in plans}) == 1
    assert len({one.blocks for one in plans}) == 1


@pytest.mark.parametrize("max_memory", [4 * 10**8, 6 * 10**8, 10**9, 10**10])
@pytest.mark.parametrize("stride", [512, 384, 200, 100])
def test_blocks_own_every_column_once_and_hold_all_windows_of_it(max_memory, stride):
    lefts = window_starts(20_000, 512, stride)
    owned = []
    for block in plan(max_memory, stride=(stride, stride)).blocks:
        start, stop = block.owned
        owned.extend(range(start, stop))
        touching = [left for left in lefts if left < stop and left + 512 > start]
        assert list(block.lefts) == touching
        assert block.left == touching[0]
        assert block.left + block.width == touching[-1] + 512
    assert owned == list(range(20_000))


def test_less_memory_makes_more_blocks():
    counts = [len(plan(memory).blocks) for memory in (10**10, 10**9, 6 * 10**8, 4 * 10**8)]
    assert counts == sorted(counts)
    assert len(set(counts)) == 4


def test_too_little_memory_names_the_least_which_is_enough():
    with pytest.raises(ConfigError, match="max_memory is 1,000 bytes, but windows of 512x512") as e:
        plan(1000)
    found = re.search(r"Give at least (\d+)MB", str(e.value))
    assert found is not None
    least = int(found[1]) * 10**6
    assert plan(least).num_bytes <= least
    with pytest.raises(ConfigError):
        plan(least - 10**6)


def test_windows_are_no_larger_than_the_image():
    small = plan(10**9, size=(1, 20_000))
    assert small.window == (1, 512)
    assert small.tops == (0,)
    assert plan(10**9, size=(20_000, 1)).window == (512, 1)
    assert plan(10**9, size=(1, 1)).blocks[0].lefts == (0,)


def test_memory_that_is_left_makes_batches():
    one = plan(10**10, largest_batch=1)
    assert one.batch_size == 1
    assert plan(10**10, largest_batch=8).batch_size == 8
    room = plan(one.num_bytes + 2 * WINDOW_BYTES, largest_batch=8)
    assert room.batch_size == 3
    assert room.num_bytes == one.num_bytes + 2 * WINDOW_BYTES


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500MB", 500e6), ("4GB", 4e9), ("2GiB", 2**31), (" 1.5 gb ", 1.5e9), ("1000", 1000), ("64MiB", 2**26)],
)  # fmt: skip
def test_memory_is_written_with_a_unit(text, expected):
    assert parse_memory(text) == np.int64(expected)


@pytest.mark.parametrize("text", ["", "much", "-1GB", "4 apples", "GB", "1e9"])
def test_other_memory_is_refused(text):
    with pytest.raises(ConfigError, match="write it as 500MB, 4GB or 2GiB"):
        parse_memory(text)
