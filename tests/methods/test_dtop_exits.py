"""DToP with some of its exits switched off."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_dtop import exit_map, make_dtop, prune
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.outputs import SegOutput

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def rule(exits, **fields) -> PruningConfig:
    return PruningConfig(rule="remove", threshold=0.7, exits=exits, **fields)


def names_of(output: SegOutput) -> list[str]:
    return [stage.name for stage in output.stages]


@pytest.mark.parametrize("exits", [(0,), (1,), (0, 1), None])
@torch.no_grad()
def test_tokens_leave_at_the_exits_that_are_on(exits):
    model = make_dtop()[0]
    prune(model, rule(exits))
    read = []
    for number, head in enumerate(model.decoder.exits):
        head.register_forward_pre_hook(lambda *_, number=number: read.append(number))
    found = set(exit_map(model, IMAGES).unique().tolist())
    on = list(exits or (0, 1))
    assert read == on
    assert found == {*on, 2}
    assert names_of(model(IMAGES)) == [f"exit_{(1, 3)[number]}" for number in on]


@torch.no_grad()
def test_an_exit_that_is_off_changes_nothing_before_it():
    model = make_dtop()[0]
    prune(model, rule(None))
    both = exit_map(model, IMAGES)
    prune(model, rule((0,)))
    assert torch.equal(exit_map(model, IMAGES) == 0, both == 0)
    assert (both == 1).any()


def test_in_training_every_head_is_run_but_nobody_leaves_where_it_is_off():
    model = make_dtop()[0].train()
    prune(model, rule((1,)))
    assert names_of(model(IMAGES)) == ["exit_1", "exit_3"]
    assert set(exit_map(model, IMAGES).unique().tolist()) == {1, 2}


@torch.no_grad()
def test_training_and_evaluation_agree_where_the_last_exit_is_off():
    """The pruned tokens' words come from the exit at which they left, also where later heads are run in training."""
    model = make_dtop(decoder={"kind": "fcn", "auxiliary": "atm"})[0]
    prune(model, PruningConfig(rule="share", share=0.5, exits=(0,)))
    expected = model(IMAGES).scores()
    model.backbone.training = True  # without dropout and batch statistics
    torch.testing.assert_close(model(IMAGES).scores(), expected)
    assert set(names_of(model(IMAGES))) == {"exit_1", "exit_3"}


def test_all_exits_named_is_none_named():
    model = make_dtop()[0]
    prune(model, rule(None))
    expected = model(IMAGES).mask_logits
    prune(model, rule((0, 1)))
    assert torch.equal(model(IMAGES).mask_logits, expected)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"exits": [1, 0]}, "must be increasing numbers from 0, got \\[1, 0\\]"),
        ({"exits": [0, 0]}, "must be increasing"),
        ({"exits": [-1]}, "must be increasing"),
        ({"exits": []}, "exits"),
        ({"exits": [0], "rule": "nearest"}, "exits belongs to the rules that look at tokens"),
    ],
)
def test_wrong_exits_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        parse(PruningConfig, fields)


def test_exits_past_the_depth_are_refused():
    with pytest.raises(ConfigError, match=r"goes past the depth: .* make 2 exits, numbered"):
        make_dtop(pruning={"exits": [0, 2]})
    with pytest.raises(ConfigError, match="goes past the depth"):
        prune(make_dtop()[0], rule((2,)))
