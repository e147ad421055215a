"""The loss against hand numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from vitseg.classes import IGNORE_INDEX
from vitseg.inference.scores import OutputScores, full_scores
from vitseg.losses import mask as mask_module
from vitseg.losses.atm import AtmLoss, every, present_classes
from vitseg.losses.mask import dice_loss, focal_and_dice, focal_terms
from vitseg.losses.tasks import TasksLoss
from vitseg.outputs import ClassLogits, Joined, MixedMasks, PresenceMasks, QueryMasks
from vitseg.supervision import AtmLossConfig


def test_focal_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    targets = torch.tensor([[1.0, 0.0]])
    # p = 1/2 and 3/4: 0.25 (1/2)^2 log 2 and 0.75 (3/4)^2 log 4, averaged
    expected = (0.25 * 0.25 * math.log(2) + 0.75 * 0.5625 * math.log(4)) / 2
    terms = focal_terms(logits, logits.sigmoid(), targets)
    assert terms.mean().item() == pytest.approx(expected)
    assert focal_and_dice(logits, targets.bool())[0].item() == pytest.approx(expected)


def test_dice_by_hand():
    probs, targets = torch.tensor([[0.5, 0.75]]), torch.tensor([[1.0, 0.0]])
    expected = 1 - (2 * 0.5 + 1) / (1.25 + 1 + 1)
    assert dice_loss(probs, targets).item() == pytest.approx(expected)
    assert focal_and_dice(probs.logit(), targets.bool())[1].item() == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [1, 100, 10_000])
def test_one_pass_equals_the_chain_of_operations(monkeypatch, chunk):
    """Values and gradients, also of logits that saturate, whichever number of masks is worked on at a time."""
    monkeypatch.setattr(mask_module, "CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(6, 50, generator=generator, dtype=torch.float64)
    logits[0, :4] = torch.tensor([200.0, -200.0, 60.0, -60.0])
    logits.requires_grad_()
    targets = torch.rand(6, 50, generator=generator) < 0.4
    targets[1], targets[2] = True, False
    weights = torch.rand(2, 6, generator=generator, dtype=torch.float64)
    focal, dice = focal_and_dice(logits, targets)
    (ours,) = torch.autograd.grad((weights[0] * focal + weights[1] * dice).sum(), logits)
    probs, numbers = logits.sigmoid(), targets.double()
    plain = focal_terms(logits, probs, numbers).mean(-1), dice_loss(probs, numbers)
    (theirs,) = torch.autograd.grad((weights[0] * plain[0] + weights[1] * plain[1]).sum(), logits)
    torch.testing.assert_close((focal, dice), plain, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_a_logit_out_of_range_counts_as_much_as_it_is_wrong():
    """In float32, the probability of 200 below the mask's side is 0."""
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    focal, _ = focal_and_dice(logits, torch.tensor([[True, False]]))
    assert focal.item() == pytest.approx((0.25 * 200 + 0.75 * 200) / 2)
    (gradient,) = torch.autograd.grad(focal.sum(), logits)
    assert gradient[0].tolist() == pytest.approx([-0.125, 0.375])


def test_no_mask_has_no_loss():
    focal, dice = focal_and_dice(torch.zeros(0, 9), torch.zeros(0, 9, dtype=torch.bool))
    assert focal.shape == dice.shape == (0,)


def test_present_classes():
    labels = torch.tensor([[[0, 2], [2, IGNORE_INDEX]], [[IGNORE_INDEX] * 2] * 2])
    assert present_classes(labels, 3).tolist() == [[True, False, True], [False] * 3]


def output_of(mask_logits, class_logits, reading=MixedMasks, size=(2, 2), **more) -> QueryMasks:
    return reading(mask_logits, size, size, class_logits=class_logits, **more)


def test_one_image_by_hand():
    """Two classes, class 0 everywhere but in one ignored pixel, which is a negative of its mask."""
    labels = torch.tensor([[[0, 0], [0, IGNORE_INDEX]]])
    output = output_of(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 3))
    terms = AtmLoss(AtmLossConfig())(output, labels)
    assert terms["loss_ce"].item() == pytest.approx(math.log(3))
    focal = (3 * 0.25 + 0.75) / 4 * 0.25 * math.log(2)
    assert terms["loss_mask"].item() == pytest.approx(20 * focal)
    assert terms["loss_dice"].item() == pytest.approx(1 - (2 * 1.5 + 1) / (2 + 3 + 1))


def test_absent_classes_weigh_a_tenth():
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]]])
    terms = AtmLoss(AtmLossConfig())(output_of(torch.zeros(1, 2, 2, 2), logits), labels)
    present = -math.log(math.exp(2) / (math.exp(2) + 2))
    absent = -math.log(math.exp(3) / (math.exp(3) + 2))
    assert terms["loss_ce"].item() == pytest.approx((present + 0.1 * absent) / 1.1)


def test_presence_has_two_logits_per_query():
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    output = output_of(torch.zeros(1, 3, 2, 2), logits, PresenceMasks)
    present = -math.log(math.e / (math.e + 1))
    absent = -math.log(math.exp(2) / (math.exp(2) + 1))
    terms = AtmLoss(AtmLossConfig())(output, labels)
    assert terms["loss_ce"].item() == pytest.approx((present + 0.2 * absent) / 1.2)


def test_padding_does_not_count():
    """Masks cover 4 x 4 pixels, of which the image has 2 x 3."""
    labels = torch.zeros(1, 2, 3, dtype=torch.long)
    masks = torch.full((1, 1, 4, 4), -9.0)
    masks[..., :2, :3] = 9.0
    output = MixedMasks(masks, (2, 3), (4, 4), class_logits=torch.zeros(1, 1, 2))
    assert AtmLoss(AtmLossConfig())(output, labels)["loss_dice"].item() < 1e-3


def test_every_stage_is_supervised_with_its_own_names():
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    early = output_of(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 3), name="0")
    output = output_of(torch.ones(1, 2, 2, 2), torch.ones(1, 2, 3), stages=(early,))
    terms = AtmLoss(AtmLossConfig(focal_weight=0))(output, labels)
    assert set(terms) == {f"loss_{t}{s}" for t in ("ce", "mask", "dice") for s in ("", "_0")}
    assert terms["loss_mask"] == 0
    assert terms["loss_dice"] != terms["loss_dice_0"]


def test_equal_class_weights_change_nothing():
    labels = torch.randint(-1, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    output = output_of(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4), size=(8, 8))
    plain = AtmLoss(AtmLossConfig())(output, labels)
    weighted = AtmLoss(AtmLossConfig(), torch.ones(3))(output, labels)
    assert {name: value.item() for name, value in plain.items()} == pytest.approx(
        {name: value.item() for name, value in weighted.items()}
    )


@pytest.mark.parametrize("reading", [MixedMasks, PresenceMasks])
def test_class_weights_are_weighted_means(reading):
    """Two classes are there, the third is not; a mean of their terms weighted 3 : 1."""
    labels = torch.tensor([[[0, 0], [1, 1]]])
    torch.manual_seed(0)
    num_logits = 4 if reading is MixedMasks else 2
    masks, classes = torch.randn(1, 3, 2, 2), torch.randn(1, 3, num_logits)
    weights = torch.tensor([3.0, 1.0, 5.0])
    terms = AtmLoss(AtmLossConfig(), weights)(output_of(masks, classes, reading), labels)

    flat = masks[0].flatten(1)
    targets = torch.tensor([[True, True, False, False], [False, False, True, True]])
    focal, _ = focal_and_dice(flat[:2], targets)
    assert terms["loss_mask"].item() == pytest.approx(20 * (3 * focal[0] + focal[1]).item() / 4)
    log_probs = classes[0].log_softmax(-1)
    present = [0, 1] if reading is MixedMasks else [0, 0]
    cross_entropy = [-log_probs[0, present[0]], -log_probs[1, present[1]], -log_probs[2, -1]]
    expected = (3 * cross_entropy[0] + cross_entropy[1] + 0.1 * cross_entropy[2]) / 4.1
    assert terms["loss_ce"].item() == pytest.approx(expected.item())


PIXELS = AtmLossConfig(kind="pixels")


def test_pixel_cross_entropy_by_hand():
    """Scores of two classes in two pixels, one of them ignored: it counts in the mean with a loss of 0."""
    masks = torch.tensor([0.0, math.log(3.0)])[None, :, None, None].expand(1, 2, 1, 2)
    classes = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]])
    labels = torch.tensor([[[1, IGNORE_INDEX]]])
    output = output_of(masks, classes, size=(1, 2))
    first = [math.exp(v) / (math.e + 1 + math.exp(0.5)) for v in (1.0, 0.0)]
    scores = [0.5 * first[0] + 0.75 / 3, 0.5 * first[1] + 0.75 / 3]
    expected = math.log(math.exp(scores[0]) + math.exp(scores[1])) - scores[1]
    terms = AtmLoss(PIXELS)(output, labels)
    assert list(terms) == ["loss_pixel"]
    assert terms["loss_pixel"].item() == pytest.approx(expected / 2)


@pytest.mark.parametrize(
    ("reading", "num_logits"), [(MixedMasks, 4), (PresenceMasks, 2), (ClassLogits, 0)]
)
def test_pixel_scores_are_those_of_inference(reading, num_logits):
    """A loss resizes maps that have gradients in a way of its own."""
    torch.manual_seed(0)
    classes = {"class_logits": torch.randn(2, 3, num_logits)} if num_logits else {}
    masks = torch.randn(2, 3, 4, 5).requires_grad_()
    output = reading(masks, (50, 71), (64, 80), **classes)
    for index, scores in enumerate(output.scores()):
        torch.testing.assert_close(scores, full_scores(OutputScores(output, index)))


def test_competing_classes_by_hand():
    """Scores of two classes in two pixels, the second ignored: minus the logarithm of the right one's share."""
    masks = torch.tensor([0.0, math.log(3.0)])[None, :, None, None].expand(1, 2, 1, 2)
    classes = torch.zeros(1, 2, 2)  # present with a probability of one half
    output = PresenceMasks(masks, (1, 2), (1, 2), class_logits=classes)
    labels = torch.tensor([[[1, IGNORE_INDEX]]])
    terms = AtmLoss(AtmLossConfig(pixel_weight=2.0))(output, labels)
    assert terms["loss_pixel"].item() == pytest.approx(-2 * math.log(0.75 / (0.5 + 0.75)))
    assert "loss_pixel" not in AtmLoss(AtmLossConfig())(output, labels)


def test_competing_classes_have_gradients_where_a_score_vanishes():
    masks = torch.full((1, 2, 1, 1), -200.0, requires_grad=True)
    output = PresenceMasks(masks, (1, 1), (1, 1), class_logits=torch.zeros(1, 2, 2))
    terms = AtmLoss(AtmLossConfig(pixel_weight=1.0))(output, torch.ones(1, 1, 1).long())
    assert terms["loss_pixel"].item() == pytest.approx(math.log(2))
    sum(terms.values()).backward()
    assert masks.grad.isfinite().all()


def test_pixel_cross_entropy_of_every_stage_with_its_own_name():
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    early = output_of(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 3), name="0")
    output = output_of(torch.ones(1, 2, 2, 2), torch.randn(1, 2, 3), stages=(early,))
    terms = AtmLoss(PIXELS)(output, labels)
    assert set(terms) == {"loss_pixel", "loss_pixel_0"}
    assert terms["loss_pixel_0"].item() == pytest.approx(math.log(2))


def test_class_weights_make_the_pixel_loss_a_weighted_mean():
    labels = torch.tensor([[[0, 1], [1, IGNORE_INDEX]]])
    torch.manual_seed(0)
    output = output_of(torch.randn(1, 2, 2, 2), torch.randn(1, 2, 3))
    terms = -output.scores().log_softmax(1)[0]
    expected = 3 * terms[0, 0, 0] + 0.5 * (terms[1, 0, 1] + terms[1, 1, 0])
    found = AtmLoss(PIXELS, torch.tensor([3.0, 0.5]))(output, labels)["loss_pixel"]
    assert found.item() == pytest.approx(expected.item() / (3 + 0.5 + 0.5 + 1))
    plain = AtmLoss(PIXELS)(output, labels)["loss_pixel"]
    equal = AtmLoss(PIXELS, torch.ones(2))(output, labels)["loss_pixel"]
    assert equal.item() == pytest.approx(plain.item())


def test_weights_of_mask_terms_are_refused_with_pixels():
    with pytest.raises(ValidationError, match='focal_weight belong to kind "masks"'):
        AtmLossConfig(kind="pixels", focal_weight=10)


def test_pixel_cross_entropy_teaches_masks_and_classes():
    labels = torch.tensor([[[0, 1], [IGNORE_INDEX, IGNORE_INDEX]]])
    masks = torch.zeros(1, 2, 2, 2, requires_grad=True)
    classes = torch.eye(2, 3)[None].requires_grad_()
    optimizer = torch.optim.Adam([masks, classes], lr=0.1)
    losses = []
    for _ in range(100):
        loss = AtmLoss(PIXELS)(output_of(masks, classes), labels)["loss_pixel"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    scores = output_of(masks, classes).scores()
    assert scores.argmax(1)[0, 0].tolist() == [0, 1]


def test_pixel_cross_entropy_of_nothing_but_ignored_pixels_is_0():
    masks = torch.randn(1, 2, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), IGNORE_INDEX)
    loss = AtmLoss(PIXELS)(output_of(masks, torch.randn(1, 2, 3)), labels)["loss_pixel"]
    loss.backward()
    assert loss == 0
    assert masks.grad is not None
    assert masks.grad.eq(0).all()


# pixels without a label

LEFT_OUT = AtmLossConfig(ignored="left_out")


def sparse_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask logits, class logits and labels of two images, most of whose pixels have no label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, 6, 6), generator=generator)
    labels[torch.rand(2, 6, 6, generator=generator) < 0.7] = IGNORE_INDEX
    masks = torch.randn(2, 3, 6, 6, generator=generator) * 3
    return masks, torch.randn(2, 3, 4, generator=generator), labels


def test_left_out_pixels_are_in_no_sum_and_no_mean():
    """The same as a loop over the labelled pixels alone."""
    masks, classes, labels = sparse_case()
    terms = AtmLoss(LEFT_OUT)(output_of(masks, classes, size=(6, 6)), labels)
    focal, dice = [], []
    for image, cls in present_classes(labels, 3).nonzero().tolist():
        kept = labels[image] != IGNORE_INDEX
        logits, targets = masks[image, cls][kept][None], (labels[image] == cls)[kept][None]
        of_focal, of_dice = focal_and_dice(logits, targets)
        focal.append(of_focal)
        dice.append(of_dice)
    assert terms["loss_mask"].item() == pytest.approx(20 * torch.cat(focal).mean().item(), rel=1e-5)
    assert terms["loss_dice"].item() == pytest.approx(torch.cat(dice).mean().item(), rel=1e-5)
    plain = AtmLoss(AtmLossConfig())(output_of(masks, classes, size=(6, 6)), labels)
    assert terms["loss_ce"] == plain["loss_ce"]
    assert terms["loss_mask"] != plain["loss_mask"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_left_out_pixels_get_no_gradient(dtype):
    masks, classes, labels = sparse_case(1)
    masks = masks.to(dtype).requires_grad_()
    terms = AtmLoss(LEFT_OUT)(output_of(masks, classes, size=(6, 6)), labels)
    (gradient,) = torch.autograd.grad(terms["loss_mask"] + terms["loss_dice"], masks)
    left_out = (labels == IGNORE_INDEX)[:, None].expand_as(gradient)
    assert (gradient[left_out] == 0).all()
    assert (gradient[~left_out] != 0).any()


def test_without_ignored_pixels_left_out_changes_nothing():
    masks, classes, labels = sparse_case(2)
    labels = labels.clamp(min=0)
    output = output_of(masks, classes, size=(6, 6))
    assert AtmLoss(LEFT_OUT)(output, labels) == AtmLoss(AtmLossConfig())(output, labels)


@pytest.mark.parametrize("kind", ["masks", "pixels"])
def test_an_image_without_labels_teaches_nothing_when_they_are_left_out(kind):
    masks, classes, labels = sparse_case(3)
    labels[1] = IGNORE_INDEX
    masks.requires_grad_()
    classes.requires_grad_()
    loss = AtmLoss(AtmLossConfig(kind=kind, ignored="left_out"))
    total = torch.stack(list(loss(output_of(masks, classes, size=(6, 6)), labels).values())).sum()
    for gradient in torch.autograd.grad(total, (masks, classes)):
        assert (gradient[1] == 0).all()
        assert (gradient[0] != 0).any()
    nothing = loss(output_of(masks, classes, size=(6, 6)), torch.full_like(labels, IGNORE_INDEX))
    assert all(value == 0 for value in nothing.values())


def test_an_image_without_labels_teaches_absence_by_default():
    classes = torch.zeros(1, 3, 4, requires_grad=True)
    labels = torch.full((1, 2, 2), IGNORE_INDEX)
    terms = AtmLoss(AtmLossConfig())(output_of(torch.zeros(1, 3, 2, 2), classes), labels)
    (gradient,) = torch.autograd.grad(terms["loss_ce"], classes)
    assert (gradient[..., -1] < 0).all()


def test_left_out_of_pixels_is_the_mean_over_the_labelled():
    masks, classes, labels = sparse_case(4)
    output = output_of(masks, classes, size=(6, 6))
    found = AtmLoss(AtmLossConfig(kind="pixels", ignored="left_out"))(output, labels)["loss_pixel"]
    over_all = AtmLoss(PIXELS)(output, labels)["loss_pixel"]
    share = (labels != IGNORE_INDEX).float().mean().item()
    assert found.item() == pytest.approx(over_all.item() / share, rel=1e-5)


def test_classes_of_other_parts_stay_negatives_when_ignored_pixels_are_left_out():
    labels = torch.tensor([[[0, 1], [IGNORE_INDEX, IGNORE_INDEX]]])
    parts = tuple(
        output_of(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2), PresenceMasks) for _ in range(2)
    )
    terms = TasksLoss(LEFT_OUT, (1, 1))(Joined.of(parts), labels)
    focal = (0.25 + 0.75) / 2 * 0.25 * math.log(2)  # a pixel inside, one of the other part
    for task in (0, 1):
        assert terms[f"loss_mask_task_{task}"].item() == pytest.approx(20 * focal)


@pytest.mark.parametrize("reading", [MixedMasks, PresenceMasks])
def test_an_output_at_some_pixels_has_the_scores_of_the_pixels_that_are_kept(reading):
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 3, 3, 4, generator=generator)
    logits = torch.randn(2, 3, 4 if reading is MixedMasks else 2, generator=generator)
    output = reading(masks, (21, 30), (24, 32), class_logits=logits)
    torch.testing.assert_close(
        output.at(torch.arange(1, 21, 4), torch.arange(3, 30, 4)).scores(),
        output.scores()[..., 1::4, 3::4],
        rtol=1e-5,
        atol=1e-6,
    )


def test_pixel_step_compares_every_nth_pixel_of_masks_and_labels():
    labels = torch.arange(64).view(1, 8, 8) % 3
    output = output_of(torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4), size=(8, 8))
    output = replace(output, stages=(replace(output, name="early"),))
    config = AtmLossConfig(pixel_step=2, pixel_weight=1.0)
    whole = AtmLoss(config.model_copy(update={"pixel_step": 1}))
    places = set()
    for seed in range(12):
        torch.manual_seed(seed)
        terms = AtmLoss(config)(output, labels)
        torch.manual_seed(seed)
        top, left = (int(torch.randint(2, ())) for _ in range(2))
        places.add((top, left))
        kept = output.at(torch.arange(top, 8, 2), torch.arange(left, 8, 2))
        of_final = whole(kept, labels[:, top::2, left::2])
        for name, term in of_final.items():
            torch.testing.assert_close(terms[name], term)
            torch.testing.assert_close(terms[name + "_early"], term)
    assert len(places) == 4


@pytest.mark.parametrize(("step", "length"), [(4, 12), (3, 10), (3, 11), (8, 3), (1, 5), (7, 7)])
def test_of_every_nth_line_each_is_as_likely_and_there_are_always_as_many(
    step, length, monkeypatch
):
    count = math.ceil(length / step)
    drawn = []
    for first in range(length if length % step else step):
        monkeypatch.setattr(torch, "randint", lambda high, size, at=first: torch.tensor(at % high))
        lines = every(step, length)
        assert len(lines) == count
        assert lines.diff().numel() == 0 or step - 1 <= lines.diff().min() <= step
        drawn.extend(lines.tolist())
    assert torch.bincount(torch.tensor(drawn), minlength=length).unique().tolist() == [
        count * (length if length % step else step) // length
    ]


def test_pixel_step_larger_than_the_image_keeps_a_pixel():
    output = output_of(torch.randn(1, 2, 1, 1), torch.randn(1, 2, 3), size=(2, 3))
    terms = AtmLoss(AtmLossConfig(pixel_step=8))(output, torch.zeros(1, 2, 3, dtype=torch.long))
    assert all(torch.isfinite(term) for term in terms.values())


def test_a_class_that_no_compared_pixel_has_is_present_in_the_class_loss_all_the_same():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 3, 5] = 1
    output = output_of(torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3), size=(8, 8))
    config = AtmLossConfig(pixel_step=8)
    of_all = AtmLoss(config.model_copy(update={"pixel_step": 1}))(output, labels)
    for seed in range(3):
        torch.manual_seed(seed)
        torch.testing.assert_close(AtmLoss(config)(output, labels)["loss_ce"], of_all["loss_ce"])
