"""Verdicts on results that are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import verdict
from bootstrap import Measured
from claims import CLAIMS
from results import Result
from row import Row, RowList, read_list
from study import Study
from verdict import Ahead, AtLeast, Cheaper, Claim, NotBehind, Stated, StatedShare

from vitseg.errors import ConfigError

RNG = np.random.default_rng(0)


def study_of(
    scores: dict[str, list[tuple[float, float]]], gmacs: dict[str, float] | None = None
) -> Study:
    """Rows whose seeds have a mIoU and a spread over images, the same in every row."""
    rows = RowList(tuple(Row(name, "g", name, "r", seeds=(0, 1, 2)) for name in scores), ())
    results = []
    for row in rows.rows:
        for seed in range(len(scores[row.name])):
            content = {
                "gmacs": (gmacs or {}).get(row.name),
                "minutes": 1.0,
                "miou": scores[row.name][seed][0],
                "per_class": {
                    "a": score if (score := scores[row.name][seed][0]) > 0 else 0.5,
                    "b": None,
                },
                "tasks": [["a"], ["b"]],
            }
            results.append(Result(row, seed, content))
    study = Study(rows, results)
    noise = RNG.normal(size=2000)
    for name, by_seed in scores.items():
        for seed, (value, spread) in enumerate(by_seed):
            for measure in ("miou", "kept"):
                study._measured[name, seed, measure] = Measured(value, value + spread * noise)
    return study


def test_ahead():
    study = study_of({"a": [(0.6, 0.01)], "b": [(0.5, 0.01)], "c": [(0.59, 0.05)]})
    assert Ahead("a", "b").judge(study).outcome == "holds"
    assert Ahead("b", "a").judge(study).outcome == "does not hold"
    assert Ahead("a", "c").judge(study).outcome == "cannot be told"
    assert Ahead("a", "d").judge(study).outcome == "not run"
    assert "+10.0" in Ahead("a", "b", 3.1).judge(study).text
    assert "published +3.1" in Ahead("a", "b", 3.1).judge(study).text


def test_only_seeds_that_both_have_are_paired():
    study = study_of({"a": [(0.6, 0.0), (0.6, 0.0)], "b": [(0.5, 0.0)]})
    found = study.difference("a", "b")
    assert found is not None
    assert len(found.by_seed) == 1


def test_not_behind():
    study = study_of(
        {
            "base": [(0.50, 0.0)] * 3,
            "same": [(0.495, 0.001)] * 3,
            "worse": [(0.46, 0.001)] * 3,
            "open": [(0.49, 0.02)] * 3,
        }
    )
    assert NotBehind("same", "base", 2.0).judge(study).outcome == "holds"
    assert NotBehind("worse", "base", 2.0).judge(study).outcome == "does not hold"
    assert NotBehind("open", "base", 2.0).judge(study).outcome == "cannot be told"


def test_one_seed_cannot_tell_a_margin_below_what_trainings_stray():
    study = study_of({"base": [(0.50, 0.0)], "same": [(0.50, 0.001)], "worse": [(0.48, 0.001)]})
    assert NotBehind("same", "base", 1.0).judge(study).outcome == "cannot be told"
    assert NotBehind("same", "base", 2.5).judge(study).outcome == "holds"


def test_one_seed_tells_nothing_as_near_to_a_margin():
    study = study_of(
        {"base": [(0.50, 0.0)], "a": [(0.4815, 0.0)], "b": [(0.4785, 0.0)], "c": [(0.45, 0.0)]}
    )
    assert NotBehind("a", "base", 2.0).judge(study).outcome == "cannot be told"
    assert NotBehind("b", "base", 2.0).judge(study).outcome == "cannot be told"
    assert NotBehind("c", "base", 2.0).judge(study).outcome == "does not hold"


def test_a_model_that_is_run_in_two_ways_is_compared_by_its_images_alone():
    more, less = [(0.50, 0.0)] * 2, [(0.495, 0.0)] * 2
    study = study_of({"base": more, "other": less, "look": less})
    rows = [row for row in study.rows.rows if row.name != "look"]
    rows.append(Row("look", "g", "look", "r", kind="look", start="base", threshold=0.9))
    study.rows = RowList(tuple(rows), ())
    assert Ahead("base", "other").judge(study).outcome == "cannot be told"
    assert Ahead("base", "look").judge(study).outcome == "holds"
    for name in ("base", "look"):
        del study.results[name][1]
    assert Ahead("base", "look").judge(study).outcome == "cannot be told"  # one training alone


def test_a_row_that_has_not_learnt_tells_nothing():
    study = study_of({"a": [(0.6, 0.0)], "b": [(0.1, 0.0)]})
    study.results["b"][0].content["per_class"] = {"a": 0.4, **dict.fromkeys("bcde", 0.0)}
    found = Ahead("a", "b").judge(study)
    assert found.outcome == "cannot be told"
    assert "b has not learnt: 4 of 5 classes of seed 0 are below 1 %" in found.text
    study.results["b"][0].content["per_class"] = {"a": 0.4, "b": 0.1, "c": 0.0, "d": 0.0}
    assert Ahead("a", "b").judge(study).outcome == "holds"


def test_at_least():
    study = study_of({"a": [(-0.004, 0.001)] * 2, "b": [(-0.05, 0.001)], "c": [(-0.01, 0.01)]})
    assert AtLeast("a", "kept", -1.0).judge(study).outcome == "holds"
    assert AtLeast("b", "kept", -1.0).judge(study).outcome == "does not hold"
    assert AtLeast("c", "kept", -1.0).judge(study).outcome == "cannot be told"


def test_what_was_never_learnt_cannot_be_forgotten():
    study = study_of({"a": [(-0.004, 0.001)] * 2})
    for seed in (0, 1):
        study.results["a"][seed].content["per_class"] = {"a": 0.001, "b": 0.5}
    found = AtLeast("a", "kept", -1.0).judge(study)
    assert found.outcome == "cannot be told"
    assert "1 of 1 classes of seed 0 are below 1 %" in found.text  # of the first step's


def test_cheaper():
    study = study_of({"a": [(0.5, 0.0)], "b": [(0.5, 0.0)]}, {"a": 5.0, "b": 10.0})
    assert Cheaper("a", "b", 0.5).judge(study).outcome == "holds"
    assert Cheaper("a", "b", 0.4).judge(study).outcome == "does not hold"
    uncounted = study_of({"a": [(0.5, 0.0)], "b": [(0.5, 0.0)]}, {"a": 5.0})
    assert Cheaper("a", "b", 0.5).judge(uncounted).outcome == "not run"


@pytest.mark.parametrize(("varies", "outcome"), [(False, "holds"), (True, "cannot be told")])
def test_multiply_adds_that_depend_on_what_was_learnt(varies, outcome):
    study = study_of({"a": [(0.001, 0.0)], "b": [(0.5, 0.0)]}, {"a": 5.0, "b": 10.0})
    a, b = study.rows.rows
    study.rows = RowList((replace(a, varies=varies), b), ())
    assert Cheaper("a", "b", 0.5).judge(study).outcome == outcome


def test_the_largest_budget_decides():
    study = study_of(
        {
            "a-1000": [(0.6, 0.0)],
            "b-1000": [(0.5, 0.0)],
            "a-3000": [(0.6, 0.0)],
            "b-3000": [(0.7, 0.0)],
        }
    )
    outcome, (found,) = Claim("s", "t", (Ahead("a-{}", "b-{}"),)).judge(study)
    assert outcome == "does not hold"
    assert "`a-3000` less `b-3000`: -10.0" in found.text
    assert "at 1000: +10.0" in found.text


def test_a_budget_of_all_seeds_comes_before_a_larger_one():
    by_seed = [(0.6, 0.0)] * 3
    study = study_of(
        {
            "a-1000": by_seed,
            "b-1000": [(0.5, 0.0)] * 3,
            "a-3000": by_seed,
            "b-3000": [(0.7, 0.0)],
        }
    )
    outcome, (found,) = Claim("s", "t", (Ahead("a-{}", "b-{}"),)).judge(study)
    assert outcome == "holds"
    assert "at 3000: -10.0 [-10.0, -10.0], one seed" in found.text


def test_all_checks_of_a_claim_are_at_one_budget():
    study = study_of(
        {
            "a-1000": [(0.6, 0.0)] * 3,
            "b-1000": [(0.5, 0.0)] * 3,
            "c-1000": [(0.5, 0.0)] * 3,
            "a-3000": [(0.6, 0.0)] * 3,
            "b-3000": [(0.7, 0.0)] * 3,
        }
    )
    claim = Claim("s", "t", (Ahead("a-{}", "b-{}"), Ahead("a-{}", "c-{}")))
    assert claim.judge(study)[0] == "holds"
    assert Claim("s", "t", claim.checks[:1]).judge(study)[0] == "does not hold"


def test_figures_are_read_from_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "RESULTS", tmp_path)
    (tmp_path / "table.txt").write_text("| ours | 120.6 |\n| theirs | 60.3 |\n")
    study = study_of({})
    assert Stated("table.txt", r"ours \| ([\d.]+)", 120.9, "it").judge(study).outcome == "holds"
    assert (
        Stated("table.txt", r"ours \| ([\d.]+)", 150, "it").judge(study).outcome == "does not hold"
    )
    assert Stated("table.txt", r"none \| ([\d.]+)", 150, "it").judge(study).outcome == "not run"
    assert Stated("none.txt", r"ours \| ([\d.]+)", 150, "it").judge(study).outcome == "not run"
    (tmp_path / "latin.txt").write_bytes(b"ours | \xe4")
    with pytest.raises(ConfigError, match=r"latin\.txt cannot be read"):
        Stated("latin.txt", r"ours \| ([\d.]+)", 150, "it").judge(study)
    share = StatedShare("table.txt", r"theirs \| ([\d.]+)", r"ours \| ([\d.]+)", "it", 0.5)
    assert share.judge(study).outcome == "holds"


def test_of_several_checks_one_that_fails_decides_and_then_one_that_is_missing():
    study = study_of({"a": [(0.6, 0.01)], "b": [(0.5, 0.01)], "c": [(0.59, 0.05)]})
    holds, fails, open_, missing = (
        Ahead("a", "b"),
        Ahead("b", "a"),
        Ahead("a", "c"),
        Ahead("a", "z"),
    )
    for checks, outcome in [
        ((holds,), "holds"),
        ((holds, open_), "cannot be told"),
        ((holds, open_, missing), "not run"),
        ((missing, fails, holds), "does not hold"),
    ]:
        assert Claim("s", "t", checks).judge(study)[0] == outcome
    assert Claim("s", "t", lacks="a GPU").judge(study) == (
        "cannot be told",
        [verdict.Finding("cannot be told", "needs a GPU")],
    )


def test_every_claim_rests_on_rows_that_the_study_has_or_on_figures_that_are_stated():
    study = Study(read_list(None), [])
    names = {row.name for row in study.rows.rows}
    for claim in (claim for claims in CLAIMS.values() for claim in claims):
        for check in claim.checks:
            if isinstance(check, Stated | StatedShare):
                assert check.judge(study).outcome != "not run", check
                continue
            for name in (getattr(check, field, None) for field in ("one", "other", "row")):
                if name is not None and "{}" in name:
                    assert name.format("1000") in names, name
                    assert name.format("3000") in names, name
                elif name is not None:
                    assert name in names, name


def test_without_results_nothing_is_said_of_rows():
    study = Study(read_list(None), [])
    for claim in (claim for claims in CLAIMS.values() for claim in claims):
        outcome, _ = claim.judge(study)
        if not any(isinstance(check, Stated | StatedShare) for check in claim.checks):
            assert outcome == ("not run" if claim.checks else "cannot be told"), claim


def _of_different_models() -> list[Row]:
    """One row for each recipe and its overrides, but for those of budgets, thresholds and orders."""
    found = {}
    for row in read_list(None).rows:
        parts = ("backbone", "decoder", "shrink", "upsample", "pruning", "loss")
        changes = [each for each in row.overrides if each.startswith(parts)]
        found.setdefault((row.recipe, *changes), row)
    return list(found.values())


@pytest.mark.parametrize("row", read_list(None).rows, ids=lambda row: row.name)
def test_recipes_of_the_rows_are_whole(row):
    from identity import recipe_of, weights_name

    recipe = recipe_of(row, row.seeds[0])
    assert recipe["training"]["iterations"] == row.iterations
    assert recipe["training"]["precision"] == "bf16-mixed"
    assert weights_name(recipe) in (None, "vit_tiny_patch16_224.safetensors")


@pytest.mark.parametrize("row", _of_different_models(), ids=lambda row: row.name)
def test_models_of_the_rows_can_be_built(row):
    from vitseg.studies.continual.recipe import load_continual
    from vitseg.training.recipe import load_recipe

    if row.kind == "steps":
        recipe = load_continual(row.recipe, list(row.overrides), "folder:-").first
    else:
        recipe = load_recipe(row.recipe, list(row.overrides), "camvid:-")
    recipe.model.build(11, recipe.data.augment.crop_size, load_pretrained=False)
