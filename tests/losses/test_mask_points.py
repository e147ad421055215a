"""Points of masks: where they lie, what they carry, and the loss at them, by hand numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.losses.test_set_prediction import NUM_CLASSES, SIZE, labels_of, output_of
from vitseg.classes import IGNORE_INDEX
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.layers.resize import resize_map
from vitseg.losses.mask_points import (
    draw_points,
    labels_at_points,
    logits_at_points,
    uncertain_points,
)
from vitseg.losses.set_prediction import SetPredictionLoss
from vitseg.outputs import MixedMasks
from vitseg.supervision import Mask2FormerLossConfig, SetPredictionLossConfig

CRITERION = SetPredictionLoss(Mask2FormerLossConfig(points=64))


def pixel_middles(height: int, width: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns], -1).flatten(0, 1)[None] + 0.5


def test_a_point_has_the_label_of_its_pixel():
    labels = torch.arange(24).reshape(2, 3, 4)
    points = torch.tensor([[[0.0, 0.0], [0.9, 3.9], [2.1, 1.5]], [[1.0, 2.0], [3.0, 4.0], [2, 0]]])
    found = labels_at_points(labels, torch.tensor([0, 1]), points)
    assert found.tolist() == [[0, 3, 9], [18, 23, 20]]  # one point lies at the very end


def test_masks_at_the_middles_of_pixels_are_the_resized_masks():
    masks = torch.randn(1, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    found = logits_at_points(masks, pixel_middles(8, 16), (8, 16))
    torch.testing.assert_close(found.view(1, 3, 8, 16), resize_map(masks, (8, 16)))


def test_points_of_an_image_that_is_padded():
    masks = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = logits_at_points(masks, pixel_middles(5, 7), (8, 8))
    torch.testing.assert_close(found.view(1, 1, 5, 7), resize_map(masks, (8, 8))[..., :5, :7])


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 640)])
def test_points_lie_in_the_image(size):
    torch.manual_seed(0)
    points = draw_points(3, 500, size, torch.empty(0))
    assert points.shape == (3, 500, 2)
    assert (points >= 0).all()
    assert (points <= torch.tensor(size)).all()
    assert points.amax((0, 1)).tolist() == pytest.approx(size, rel=0.02)


def chosen(ignored: slice, importance: float) -> Tensor:
    """Points of a mask that is uncertain on the left and certain on the right."""
    torch.manual_seed(0)
    mask = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(2, 1)[None]
    labels = torch.zeros(1, 8, 16, dtype=torch.long)
    labels[..., ignored] = IGNORE_INDEX
    image = torch.tensor([0])
    return uncertain_points(mask, labels, image, (8, 16), 100, 3.0, importance)[0]


def test_uncertain_points_come_first():
    columns = chosen(slice(0, 0), 1.0)[:, 1]
    assert len(columns) == 100
    assert (columns < 8).all()
    shares = [(chosen(slice(0, 0), part)[:, 1] < 8).float().mean() for part in (0.75, 0.0)]
    assert shares[0] == pytest.approx(0.75 + 0.25 / 2, abs=0.06)
    assert shares[1] == pytest.approx(0.5, abs=0.1)


def test_ignored_points_come_last():
    assert (chosen(slice(0, 8), 1.0)[:, 1] >= 8).all()


@pytest.mark.parametrize("ignored_rows", [0, 8])
def test_the_loss_of_even_masks_by_hand(ignored_rows):
    """One class, one query: every point has the same logit, so it does not matter which are drawn."""
    labels = torch.full((1, *SIZE), 2)
    labels[:, :ignored_rows] = IGNORE_INDEX
    output = MixedMasks(
        torch.full((1, 1, 4, 6), 0.8), SIZE, SIZE, class_logits=torch.zeros(1, 1, NUM_CLASSES + 1)
    )
    criterion = SetPredictionLoss(Mask2FormerLossConfig(points=64, importance=1.0))
    torch.manual_seed(0)
    terms = criterion(output, labels)
    probability = 1 / (1 + math.exp(-0.8))
    dice = 1 - (2 * 64 * probability + 1) / (64 * probability + 64 + 1)
    assert terms["loss_ce"].item() == pytest.approx(2 * math.log(NUM_CLASSES + 1), rel=1e-5)
    assert terms["loss_mask"].item() == pytest.approx(-5 * math.log(probability), rel=1e-5)
    assert terms["loss_dice"].item() == pytest.approx(5 * dice, rel=1e-5)


def test_the_right_query_is_found_at_points():
    labels = labels_of(0, 2, 5)
    classes = torch.tensor([5, 0, NUM_CLASSES, 2])
    masks = torch.where(labels[:, None] == classes[:, None, None], 30.0, -30.0)
    logits = 30.0 * torch.nn.functional.one_hot(classes, NUM_CLASSES + 1).float().expand(2, -1, -1)
    output = MixedMasks(masks, SIZE, SIZE, class_logits=logits)
    torch.manual_seed(0)
    targets, (matched,) = CRITERION.matched([output], labels)
    assert targets.classes.tolist() == [[0, 2, 5]] * 2
    assert matched.tolist() == [[1, 3, 0]] * 2
    even = SetPredictionLoss(Mask2FormerLossConfig(points=64, importance=0.0))(output, labels)
    assert even["loss_ce"].item() < 1e-4
    assert even["loss_mask"].item() < 1.5  # but for points between two pixels of different classes


def test_many_points_come_near_all_cells():
    """Masks as large as the image, and points drawn evenly: the same mean, but for what lies between pixels."""
    output = replace(output_of(), mask_logits=resize_map(output_of().mask_logits, SIZE))
    labels = labels_of(0, 2, 5)
    torch.manual_seed(0)
    points = SetPredictionLoss(Mask2FormerLossConfig(points=20_000, importance=0.0))
    found, wanted = points(output, labels), SetPredictionLoss(SetPredictionLossConfig())
    for name, term in wanted(output, labels).items():
        assert found[name].item() == pytest.approx(term.item(), rel=0.02), name


def test_the_seed_decides():
    output, labels = output_of(), labels_of(0, 2, IGNORE_INDEX)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append({name: term.item() for name, term in CRITERION(output, labels).items()})
    assert runs[0] == runs[1] != runs[2]


def test_padding_and_ignored_pixels_change_nothing():
    padded = (16, 40)  # 24 columns and 16 of padding: cells 7, 8 and 9 are never read
    masks = torch.randn(2, 4, 4, 10, generator=torch.Generator().manual_seed(0))
    output = replace(output_of(), mask_logits=masks, padded_size=padded)
    other = replace(output, mask_logits=torch.cat([masks[..., :7], torch.nan * masks[..., 7:]], -1))
    labels = labels_of(0, 3)
    results = []
    for candidate in (output, other):
        torch.manual_seed(0)
        results.append(CRITERION(candidate, labels))
    for name, term in results[0].items():
        torch.testing.assert_close(results[1][name], term)
    labels[:, :8] = (
        IGNORE_INDEX  # the upper two rows of cells; the border between lies in the second and third
    )
    masks = masks.clone()
    masks[:, :, 0] = 1000.0
    even = SetPredictionLoss(Mask2FormerLossConfig(points=64, importance=0.0))
    results = []
    for candidate in (output, replace(output, mask_logits=masks)):
        torch.manual_seed(0)
        results.append(even(candidate, labels))
    for name, term in results[0].items():
        torch.testing.assert_close(results[1][name], term)


def test_images_without_labels_have_no_masks_to_learn():
    output = output_of()
    masks = output.mask_logits.clone().requires_grad_()
    labels = labels_of(0, 2)
    for part in (slice(0, 1), slice(None)):  # one image of two, then both
        labels[part] = IGNORE_INDEX
        terms = CRITERION(replace(output, mask_logits=masks), labels)
        assert all(term.isfinite() for term in terms.values())
    assert terms["loss_mask"] == terms["loss_dice"] == 0
    sum(terms.values()).backward()
    assert masks.grad is not None


def test_a_class_that_no_point_hits_is_still_a_target():
    labels = torch.zeros(1, *SIZE, dtype=torch.long)
    labels[0, 0, 0] = 4
    torch.manual_seed(0)
    few = SetPredictionLoss(Mask2FormerLossConfig(points=2))
    targets, (matched,) = few.matched([output_of(batch=1)], labels)
    assert targets.classes.tolist() == [[0, 4]]
    assert targets.masks[0, 1].sum() == 0
    assert (matched >= 0).all()
    assert all(term.isfinite() for term in few(output_of(batch=1), labels).values())


def test_more_classes_than_queries():
    labels, output = labels_of(0, 1, 2, 3, 4, 5), output_of(num_queries=2)
    _, (matched,) = CRITERION.matched([output], labels)
    assert ((matched >= 0).sum(1) == 2).all()
    assert all(term.isfinite() for term in CRITERION(output, labels).values())


def test_gradients_reach_the_masks():
    output = output_of()
    masks = output.mask_logits.clone().requires_grad_()
    terms = CRITERION(replace(output, mask_logits=masks), labels_of(0, 2))
    (terms["loss_mask"] + terms["loss_dice"]).backward()
    assert masks.grad is not None
    assert (masks.grad.flatten(2).abs().sum(-1) > 0).sum(1).tolist() == [2, 2]  # a query per class


@pytest.mark.parametrize("field", ["oversample", "importance"])
def test_how_points_are_drawn_belongs_to_points(field):
    raw = {"points": None, field: 1.0}
    with pytest.raises(ConfigError, match=f"{field} belong to points: give it a number"):
        parse(Mask2FormerLossConfig, raw)
