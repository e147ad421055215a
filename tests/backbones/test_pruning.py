"""Which tokens leave: the rules against loops in plain Python."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitseg.backbones.steps.exit_rules import PruningConfig, rank_within

LENGTHS = (7, 1, 40, 12)


def random_probs(seed: int = 0, num_classes: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(sum(LENGTHS), num_classes, generator=generator)


def by_hand(probs: Tensor, config: PruningConfig) -> list[bool]:
    """The rules, token by token."""
    leaves, start = [], 0
    for length in LENGTHS:
        image = probs[start : start + length].tolist()
        start += length
        confidence = [max(row) for row in image]
        classes = [row.index(max(row)) for row in image]
        order = sorted(range(length), key=lambda n: -confidence[n])
        easy = [n for n in order if confidence[n] > config.threshold]
        gone = set(easy)
        if config.rule == "share":
            gone = set(order[: int(length * config.share)])
        elif config.rule == "top_k":
            for name in set(classes):
                gone -= set([n for n in easy if classes[n] == name][: config.keep_per_class])
        elif len(gone) == length:
            gone.remove(order[-1])
        leaves += [n in gone for n in range(length)]
    return leaves


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": 0.7},
        {"threshold": 0.3, "keep_per_class": 1},
        {"threshold": 0.3, "keep_per_class": 1000},
        {"threshold": 1.0},
        {"rule": "remove", "threshold": 0.7},
        {"rule": "remove", "threshold": 0.01},
        {"rule": "average", "threshold": 0.5},
        {"rule": "share"},
        {"rule": "share", "share": 0.99},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_rules(fields, seed):
    config = PruningConfig(**fields)
    probs = random_probs(seed)
    leaves, classes = config.build().leaves(probs, LENGTHS)
    assert leaves.tolist() == by_hand(probs, config)
    assert torch.equal(classes, probs.argmax(-1))
    stays = [part.sum().item() for part in (~leaves).split(LENGTHS)]
    assert min(stays) >= 1  # an image never loses all


def test_no_token_at_the_threshold_itself_leaves():
    probs = torch.full((10, 2), 0.5)
    assert not PruningConfig(threshold=0.5).build().leaves(probs, (10,)).leaves.any()
    config = PruningConfig(threshold=0.49, keep_per_class=3)
    assert config.build().leaves(probs, (10,)).leaves.tolist() == [False] * 3 + [True] * 7


def test_ranks_of_equal_values_follow_their_order():
    groups = torch.tensor([1, 0, 1, 1, 0])
    ranks = rank_within(groups, torch.tensor([2.0, 5.0, 2.0, 3.0, 7.0]), 4)
    assert ranks.tolist() == [1, 1, 2, 0, 0]


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_thresholds_are_in_0_1(threshold):
    with pytest.raises(ValidationError, match="threshold"):
        PruningConfig(threshold=threshold)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "share", "threshold": 0.5}, "threshold belongs to rule top_k or remove"),
        ({"rule": "remove", "keep_per_class": 3}, "keep_per_class belongs to rule top_k"),
        ({"share": 0.5}, "share belongs to rule share"),
        ({"rule": "conv", "threshold": 0.9}, "but rule is conv"),
    ],
)
def test_fields_of_another_rule_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        PruningConfig(**fields)
