"""Scores in strips of rows against scores all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitseg.inference import scores as module
from vitseg.inference.scores import (
    OutputScores,
    ResizedScores,
    ScoreMap,
    TensorScores,
    full_scores,
    label_map,
    resized,
)
from vitseg.layers.resize import resize_rows
from vitseg.outputs import (
    CellPresence,
    ClassLogits,
    MixedMasks,
    PresenceMasks,
    QueryMasks,
    SegOutput,
)

READINGS = [MixedMasks, PresenceMasks, CellPresence, ClassLogits]


def make_output(
    num_classes: int, reading: type[SegOutput], size=(37, 51), grid=(3, 4)
) -> SegOutput:
    """Random masks over a grid of 16-pixel patches, of which the image covers a part."""
    generator = torch.Generator().manual_seed(num_classes)
    masks = 2 * torch.randn(1, num_classes, *grid, generator=generator)
    sizes = size, (16 * grid[0], 16 * grid[1])
    if reading is ClassLogits:
        return ClassLogits(masks, *sizes)
    num_logits = num_classes + 1 if reading is MixedMasks else 2
    class_logits = torch.randn(1, num_classes, num_logits, generator=generator)
    return reading(masks, *sizes, class_logits=class_logits)


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def assert_is_argmax(labels: np.ndarray, scores: torch.Tensor) -> None:
    """Every pixel's label has the best score, up to rounding."""
    assert labels.shape == tuple(scores.shape[1:])
    chosen = scores.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    assert (scores.max(0).values - chosen).max() <= 1e-6


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("num_classes", [1, 2, 5, 40])
@pytest.mark.parametrize("size", [(37, 51), (48, 64), (33, 49)])
@pytest.mark.parametrize("target", [None, (19, 77), (101, 23), (37, 51)])
def test_labels_taken_in_strips_are_the_best_scores(
    monkeypatch, reading, num_classes, size, target
):
    source: ScoreMap = OutputScores(make_output(num_classes, reading, size))
    source = source if target is None else resized(source, target)
    whole = full_scores(source)
    for rows_per_strip in (1, 7, 1000):
        monkeypatch.setattr(module, "STRIP_ELEMENTS", rows_per_strip * num_classes * source.size[1])
        assert_is_argmax(label_map(source), whole)


def test_rows_wider_than_a_strip_go_one_by_one(monkeypatch):
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 1)
    source = OutputScores(make_output(3, MixedMasks))
    assert_is_argmax(label_map(source), full_scores(source))


@pytest.mark.parametrize("reading", READINGS)
def test_the_number_of_classes(reading):
    assert make_output(4, reading).num_classes == 4


def test_class_logits_over_the_grid_are_resized_and_cut():
    output = make_output(4, ClassLogits)
    expected = resize(output.mask_logits[0], output.padded_size)[:, :37, :51]
    assert (expected < 0).any()
    torch.testing.assert_close(output.scores()[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reading", [MixedMasks, PresenceMasks])
def test_scores_follow_their_formula(reading):
    output = make_output(4, reading)
    masks = resize(output.mask_logits[0], output.padded_size)[:, :37, :51].sigmoid()
    probs = output.class_logits[0].softmax(-1)
    expected = torch.zeros(4, 37, 51)
    for k in range(4):
        if reading is PresenceMasks:
            expected[k] = probs[k, 0] * masks[k]
        else:
            for q in range(4):
                expected[k] += probs[q, k] * masks[q]
    torch.testing.assert_close(output.scores()[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reading", READINGS)
def test_output_scores_take_one_image_of_a_batch(reading):
    one = make_output(3, reading)
    both = {"mask_logits": torch.cat([one.mask_logits, -one.mask_logits])}
    if isinstance(one, QueryMasks):
        both["class_logits"] = torch.cat([one.class_logits, one.class_logits.flip(1)])
    batch = replace(one, **both)
    for index in range(2):
        rows = OutputScores(batch, index).rows(0, 37)
        torch.testing.assert_close(rows, batch.scores()[index])


@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (48, 64), (96, 5)])
def test_upsampled_rows_are_rows_of_the_upsampled_map(grid):
    maps = torch.randn(1, 2, *grid, generator=torch.Generator().manual_seed(0))
    whole = resize(maps[0], (48, 64))
    for start in range(48):
        for stop in {start + 1, start + 2, 24, 48} & set(range(start + 1, 49)):
            rows = resize_rows(maps, (48, 64), start, stop)[0]
            torch.testing.assert_close(rows, whole[:, start:stop], atol=1e-5, rtol=0)


@pytest.mark.parametrize("source_size", [(1, 1), (5, 77), (7, 9), (20, 15), (41, 6)])
@pytest.mark.parametrize("target", [(1, 1), (7, 9), (13, 40), (55, 5)])
def test_resized_rows_are_rows_of_the_resized_map(source_size, target):
    maps = torch.rand(2, *source_size, generator=torch.Generator().manual_seed(0))
    source, whole = ResizedScores(TensorScores(maps), target), resize(maps, target)
    last = target[0]
    for start in range(last):
        for stop in {start + 1, start + 5, last // 2, last} & set(range(start + 1, last + 1)):
            rows = source.rows(start, stop)
            torch.testing.assert_close(rows, whole[:, start:stop], atol=1e-5, rtol=0)


def test_single_rows_of_many_sizes():
    """Positions that round to another side of a row in float32 than in float64 (3 to 47, 7 to 55, 100 to 3000)."""
    for old, new in [(3, 47), (4, 196), (5, 77), (7, 55), (7, 71), (100, 3000), (341, 1023)]:
        maps = torch.rand(1, old, 2, generator=torch.Generator().manual_seed(old))
        source, whole = ResizedScores(TensorScores(maps), (new, 2)), resize(maps, (new, 2))
        rows = torch.cat([source.rows(row, row + 1) for row in range(new)], dim=1)
        torch.testing.assert_close(rows, whole, atol=1e-4, rtol=0)


def test_the_same_size_is_not_resized():
    source = TensorScores(torch.zeros(2, 5, 6))
    assert resized(source, (5, 6)) is source
    assert isinstance(resized(source, (6, 5)), ResizedScores)


@pytest.mark.parametrize(("num_classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_labels_have_the_smallest_type(num_classes, dtype):
    scores = torch.zeros(num_classes, 2, 3)
    scores[-1, 1, 2] = 1
    labels = label_map(TensorScores(scores))
    assert labels.dtype == dtype
    assert labels.tolist() == [[0, 0, 0], [0, 0, num_classes - 1]]
