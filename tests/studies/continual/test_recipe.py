"""Which recipes of several trainings are refused, and what differs in later steps."""

from __future__ import annotations

import pytest

from tests.tiny import tiny_recipe
from vitseg.errors import ConfigError
from vitseg.studies.continual.recipe import merged, parse_continual


def raw(approach="segvit_cl", **sections):
    first = tiny_recipe()
    if approach == "segvit_cl":
        first["decoder"]["classifier"] = "presence"
    else:
        first |= {"method": "linear", "decoder": {}}
    return first | {"continual": {"split": "2-1", "approach": approach}} | sections


def test_later_steps_and_the_joint_training_differ_as_said():
    recipe = parse_continual(
        raw(step={"training": {"iterations": 2}}, joint={"optimizer": {"lr": 0.5}})
    )
    assert recipe.first.training.iterations == recipe.of_joint().training.iterations == 4
    assert recipe.later().training.iterations == 2
    assert recipe.later().training.batch_size == 2
    assert recipe.of_joint().optimizer.lr == 0.5
    assert recipe.later().optimizer.lr == recipe.first.optimizer.lr == 1e-3
    assert parse_continual(recipe.to_mapping()) == recipe


def test_all_classes_at_once_may_learn_by_pixels():
    """No class of theirs has the ignore label."""
    given = raw(loss={"kind": "pixels"}) | {"continual": {"split": "2-1", "approach": "joint"}}
    assert parse_continual(given).of_joint().model.loss.kind == "pixels"


def test_merging_leaves_its_arguments():
    old, new = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "e": {"f": 4}}
    assert merged(old, new) == {"a": {"b": 3, "c": 2}, "d": [1], "e": {"f": 4}}
    assert old == {"a": {"b": 1, "c": 2}, "d": [1]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (tiny_recipe(), "has no section continual"),
        (raw(continual={"approach": "mib"}), "continual.split is missing"),
        (raw(continual={"split": "2-1", "approach": "ewc"}), "continual.approach is 'ewc'"),
        (raw(continual={"split": "2-1", "approach": "mib"}), "trains models of method linear"),
        (raw("mib") | {"continual": {"split": "2-1", "approach": "segvit_cl"}}, "of method segvit"),
        (raw(decoder={"num_layers": 1}), "decoder.classifier must be presence"),
        (raw(loss={"ignored": "left_out"}), "loss.ignored must be negatives"),
        (raw(loss={"kind": "pixels"}), "loss.kind must be masks"),
        (raw(step={"loss": {"kind": "pixels"}}), "loss.kind must be masks"),
        (raw(step={"decoder": {"num_layers": 2}}), "step.decoder cannot differ"),
        (raw(step={"optimiser": {}}), "step: recipe: 'optimiser' is not a known section"),
        (raw(joint={"schedule": {"warmup_iterations": 4}}), "joint: schedule.warmup_iterations 4"),
        (raw("mib", loss={"hardest_pixels": 9}), "has a loss of its own"),
        (raw("plop", step={"data": {"balance": {"class_weights": "inverse"}}}), "loss of its own"),
        (
            raw(continual={"split": "2-1", "approach": "joint", "score_background": True}),
            "background names no class",
        ),
        (raw(training={"iterations": 4, "batch_size": 2, "init_from": "x"}), "training.init_from"),
    ],
)
def test_what_does_not_fit_is_refused(given, words):
    with pytest.raises(ConfigError) as error:
        parse_continual(given)
    assert words in str(error.value)
