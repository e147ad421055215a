"""Matching and losses of queries against plain loops and hand numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.matching import Costs, match, targets_at
from vitseg.losses.set_prediction import SetPredictionLoss, labels_at_cells
from vitseg.outputs import MixedMasks
from vitseg.supervision import MaskFormerLossConfig, SetPredictionLossConfig

CONFIG = SetPredictionLossConfig()
NUM_CLASSES, GRID, SIZE = 6, (4, 6), (16, 24)


def output_of(num_queries: int = 4, batch: int = 2, seed: int = 0) -> MixedMasks:
    generator = torch.Generator().manual_seed(seed)
    masks = 2 * torch.randn(batch, num_queries, *GRID, generator=generator)
    classes = torch.randn(batch, num_queries, NUM_CLASSES + 1, generator=generator)
    return MixedMasks(masks, SIZE, SIZE, class_logits=classes)


def labels_of(*classes: int, batch: int = 2, seed: int = 1) -> Tensor:
    """Cells of 4 x 4 pixels of one label each."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, len(classes), (batch, *GRID), generator=generator)
    cells = torch.tensor(classes)[drawn]
    return cells.repeat_interleave(4, 1).repeat_interleave(4, 2)


def parts(
    output: MixedMasks, cells: Tensor, image: int, query: int, cls: int, focal: bool = False
) -> Tensor:
    """(class probability, cross-entropy or focal loss, dice) of a query as a class, cell by cell."""
    loss = overlap = area = 0.0
    count = 0
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            label = int(cells[image, row, column])
            if label == IGNORE_INDEX:
                continue
            probability = output.mask_logits[image, query, row, column].sigmoid().item()
            inside = label == cls
            right = probability if inside else 1 - probability
            weight = (0.25 if inside else 0.75) * (1 - right) ** 2 if focal else 1.0
            loss -= weight * math.log(right)
            overlap += probability * inside
            area += probability + inside
            count += 1
    probability = output.class_logits[image, query].softmax(-1)[cls].item()
    dice = 1 - (2 * overlap + 1) / (area + 1)
    return torch.tensor([probability, loss / count, dice])


def best_assignment(
    output: MixedMasks, cells: Tensor, image: int, config: SetPredictionLossConfig = CONFIG
) -> dict[int, int]:
    """Class to query, by trying all."""
    classes = sorted(set(cells[image].flatten().tolist()) - {IGNORE_INDEX})
    num_queries = output.mask_logits.shape[1]
    weights = torch.tensor([-config.class_weight, config.mask_weight, config.dice_weight])
    focal = config.mask_loss == "focal"
    candidates = []
    for queries in permutations(range(num_queries), len(classes)):
        cost = sum(
            float(weights @ parts(output, cells, image, query, cls, focal))
            for query, cls in zip(queries, classes, strict=True)
        )
        candidates.append((cost, dict(zip(classes, queries, strict=True))))
    return min(candidates, key=lambda candidate: candidate[0])[1]


@pytest.fixture(params=[(0, 2, 5), (1, 3, IGNORE_INDEX), (4,)], ids=["three", "ignored", "one"])
def labels(request) -> Tensor:
    return labels_of(*request.param)


@pytest.fixture(params=[CONFIG, MaskFormerLossConfig()], ids=["cross-entropy", "focal"])
def config(request) -> SetPredictionLossConfig:
    return request.param


def test_the_matching_is_the_cheapest_of_all(labels, config):
    output, cells = output_of(), labels[:, ::4, ::4]
    targets, (matched,) = SetPredictionLoss(config).matched([output], labels)
    for image in range(2):
        count = int(targets.counts[image])
        found = dict(
            zip(
                targets.classes[image, :count].tolist(),
                matched[image, :count].tolist(),
                strict=True,
            )
        )
        assert found == best_assignment(output, cells, image, config)
        assert (matched[image, count:] == -1).all()


def test_the_losses_are_those_of_the_loops(labels, config):
    output, cells = output_of(), labels[:, ::4, ::4]
    terms = SetPredictionLoss(config)(output, labels)
    entropy, weight_sum, pairs = 0.0, 0.0, []
    focal = config.mask_loss == "focal"
    for image in range(2):
        best = best_assignment(output, cells, image, config)
        assigned = {query: cls for cls, query in best.items()}
        pairs += [parts(output, cells, image, query, cls, focal) for query, cls in assigned.items()]
        for query in range(4):
            cls = assigned.get(query, NUM_CLASSES)
            weight = 0.1 if cls == NUM_CLASSES else 1.0
            entropy -= weight * output.class_logits[image, query].log_softmax(-1)[cls].item()
            weight_sum += weight
    mean = torch.stack(pairs).mean(0)
    wanted = config.class_weight * entropy / weight_sum
    assert terms["loss_ce"].item() == pytest.approx(wanted, rel=1e-5)
    assert terms["loss_mask"].item() == pytest.approx(config.mask_weight * mean[1].item(), rel=1e-5)
    assert terms["loss_dice"].item() == pytest.approx(config.dice_weight * mean[2].item(), rel=1e-5)


def test_the_order_of_the_queries_is_free(labels):
    output, order = output_of(), [2, 0, 3, 1]
    shuffled = replace(
        output, mask_logits=output.mask_logits[:, order], class_logits=output.class_logits[:, order]
    )
    criterion = SetPredictionLoss(CONFIG)
    for name, term in criterion(output, labels).items():
        torch.testing.assert_close(criterion(shuffled, labels)[name], term)


def test_the_right_answer_costs_nothing():
    labels = labels_of(0, 2, 5)
    cells = labels[:, ::4, ::4]
    classes = torch.tensor([5, 0, NUM_CLASSES, 2])
    masks = torch.where(cells[:, None] == classes[:, None, None], 30.0, -30.0)
    logits = 30.0 * torch.nn.functional.one_hot(classes, NUM_CLASSES + 1).float().expand(2, -1, -1)
    terms = SetPredictionLoss(CONFIG)(MixedMasks(masks, SIZE, SIZE, class_logits=logits), labels)
    assert sum(terms.values()).item() < 1e-4


def test_every_output_is_matched_for_itself(labels):
    output, early = output_of(), output_of(seed=5)
    criterion = SetPredictionLoss(CONFIG)
    stages = (replace(early, name="block_0"),)
    together = criterion(replace(output, stages=stages), labels)
    for name, term in criterion(output, labels).items():
        torch.testing.assert_close(together[name], term)
    for name, term in criterion(early, labels).items():
        torch.testing.assert_close(together[f"{name}_block_0"], term)


def test_more_classes_than_queries():
    labels = labels_of(0, 1, 2, 3, 4, 5)
    output = output_of(num_queries=2)
    _, (matched,) = SetPredictionLoss(CONFIG).matched([output], labels)
    assert ((matched >= 0).sum(1) == 2).all()
    assert all(term.isfinite() for term in SetPredictionLoss(CONFIG)(output, labels).values())


def test_images_without_labels_teach_only_that_there_is_nothing():
    output = output_of()
    masks = output.mask_logits.clone().requires_grad_()
    labels = torch.full((2, *SIZE), IGNORE_INDEX)
    terms = SetPredictionLoss(CONFIG)(replace(output, mask_logits=masks), labels)
    assert terms["loss_mask"] == terms["loss_dice"] == 0
    assert terms["loss_ce"] > 0
    sum(
        terms.values()
    ).backward()  # the masks stay in the graph: distributed training waits for them
    assert masks.grad is not None


def test_ignored_cells_change_nothing():
    labels = labels_of(0, 3, IGNORE_INDEX)
    output = output_of()
    ignored = labels[:, None, ::4, ::4] == IGNORE_INDEX
    other = replace(output, mask_logits=output.mask_logits.masked_fill(ignored, 7.0))
    criterion = SetPredictionLoss(CONFIG)
    for name, term in criterion(output, labels).items():
        torch.testing.assert_close(criterion(other, labels)[name], term)


def test_a_diverged_model_reaches_its_loss():
    output = output_of()
    broken = replace(output, mask_logits=output.mask_logits * torch.nan)
    assert SetPredictionLoss(CONFIG)(broken, labels_of(0, 2))["loss_mask"].isnan()


def test_weights_of_classes():
    """A class of weight 0 teaches nothing, and the others as if it were alone."""
    labels = labels_of(1, 4, batch=1)
    weights = torch.ones(NUM_CLASSES)
    weights[4] = 0.0
    output = output_of(batch=1)
    terms = SetPredictionLoss(CONFIG, weights)(output, labels)
    query = best_assignment(output, labels[:, ::4, ::4], 0)[1]
    _, entropy, dice = parts(output, labels[:, ::4, ::4], 0, query, 1)
    assert terms["loss_mask"].item() == pytest.approx(5 * entropy.item(), rel=1e-5)
    assert terms["loss_dice"].item() == pytest.approx(5 * dice.item(), rel=1e-5)


def test_labels_are_taken_at_the_middle_of_a_cell():
    labels = torch.arange(6 * 10).reshape(1, 6, 10)
    cells = labels_at_cells(labels, (8, 12), (2, 3))
    assert cells.tolist() == [[[22, 26, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]]]


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_images_of_one_class_or_none(num_classes):
    """They are compared as among others, with one place more for a class, which stays empty."""
    torch.manual_seed(0)
    labels = torch.zeros(3, 6, dtype=torch.long)
    labels[2] = IGNORE_INDEX
    present = torch.zeros(3, num_classes, dtype=torch.bool)
    present[:2, 0] = True
    targets = targets_at(labels, present)
    assert targets.masks.shape == (3, min(2, num_classes), 6)
    assert targets.masks.sum((1, 2)).tolist() == [6, 6, 0]
    outputs = [(torch.randn(3, 4, 6), torch.randn(3, 4, num_classes + 1))]
    (matched,) = match(outputs, targets, Costs(1.0, 1.0, 1.0, "cross_entropy"))
    assert (matched >= 0).sum(1).tolist() == [1, 1, 0]
