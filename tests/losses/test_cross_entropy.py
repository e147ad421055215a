"""The pixel cross-entropy against hand numbers and torch."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import PixelLoss, pixel_cross_entropy
from vitseg.outputs import ClassLogits, SegOutput
from vitseg.supervision import PixelLossConfig

# Two classes, four pixels; the logits give the classes of the first two pixels a probability of 3/4 and 1/4.
LOGITS = torch.tensor([[math.log(3), 0.0, 0.0, 9.0], [0.0, math.log(3), 0.0, 0.0]])[None, :, None]
LABELS = torch.tensor([[[0, 0, 1, IGNORE_INDEX]]])
TERMS = [math.log(4 / 3), math.log(4), math.log(2)]


@pytest.mark.parametrize(
    ("mean_over", "weights", "expected"),
    [
        ("all", None, sum(TERMS) / 4),
        ("labelled", None, sum(TERMS) / 3),
        ("all", [2.0, 3.0], (2 * TERMS[0] + 2 * TERMS[1] + 3 * TERMS[2]) / (2 + 2 + 3 + 1)),
        ("labelled", [2.0, 3.0], (2 * TERMS[0] + 2 * TERMS[1] + 3 * TERMS[2]) / (2 + 2 + 3)),
    ],
)
def test_hand_numbers(mean_over, weights, expected):
    weights = None if weights is None else torch.tensor(weights)
    assert pixel_cross_entropy(LOGITS, LABELS, mean_over, weights).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("hardest", "expected"),
    [(1, TERMS[1] / 4), (2, (TERMS[1] + TERMS[2]) / 4), (9, sum(TERMS) / 4)],
)
def test_the_hardest_pixels_alone_are_summed(hardest, expected):
    loss = pixel_cross_entropy(LOGITS, LABELS, "all", hardest=hardest)
    assert loss.item() == pytest.approx(expected)
    logits, labels = torch.cat([LOGITS, 0 * LOGITS]), torch.cat([LABELS, LABELS])
    both = pixel_cross_entropy(logits, labels, "all", hardest=2)  # four of the eight
    assert both.item() == pytest.approx((math.log(4) + 3 * math.log(2)) / 8)
    config = PixelLossConfig(hardest_pixels=1)
    output = ClassLogits(LOGITS, (1, 4), (1, 4))
    terms = PixelLoss(config)(replace(output, extras={"other": output}), LABELS)
    assert terms["loss_pixel"].item() == pytest.approx(TERMS[1] / 4)
    assert terms["loss_pixel_other"].item() == pytest.approx(0.4 * sum(TERMS) / 4)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 4.0])])
def test_the_mean_over_labelled_pixels_is_torchs(weights):
    logits = torch.randn(2, 3, 5, 7)
    labels = torch.randint(0, 3, (2, 5, 7))
    labels[0, :2] = IGNORE_INDEX
    expected = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, "labelled", weights), expected)


@pytest.mark.parametrize("mean_over", ["all", "labelled"])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0])])
def test_without_labels_the_loss_is_zero(mean_over, weights):
    labels = torch.full_like(LABELS, IGNORE_INDEX)
    assert pixel_cross_entropy(LOGITS, labels, mean_over, weights) == 0


def output(maps: torch.Tensor, **extras: SegOutput) -> SegOutput:
    return ClassLogits(maps, (60, 50), (64, 64), extras=extras)


def test_terms_of_all_outputs_at_pixel_size():
    main, early = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    labels = torch.randint(0, 3, (2, 60, 50))
    loss = PixelLoss(PixelLossConfig(auxiliary_weight=0.25))
    terms = loss(output(main, block_3=output(early)), labels)

    def expected(maps):
        pixels = F.interpolate(maps, (64, 64), mode="bilinear", align_corners=False)
        return F.cross_entropy(pixels[..., :60, :50], labels)

    assert list(terms) == ["loss_pixel", "loss_pixel_block_3"]
    torch.testing.assert_close(terms["loss_pixel"], expected(main))
    torch.testing.assert_close(terms["loss_pixel_block_3"], 0.25 * expected(early))


def test_class_weights_move_with_the_loss_and_are_not_saved():
    loss = PixelLoss(PixelLossConfig(), torch.tensor([1.0, 2.0, 3.0]))
    assert loss.state_dict() == {}
    assert loss.to(torch.float64).class_weights.dtype == torch.float64
