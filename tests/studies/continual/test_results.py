"""Runs side by side: who is compared with whom, and what the tables say."""

from __future__ import annotations

import csv
import io

import pytest

from vitseg.errors import ConfigError
from vitseg.studies.continual.results import (
    RunResult,
    as_csv,
    as_text,
    curve_rows,
    forgetting_rows,
    score_rows,
    side_by_side,
)

TASKS = [["a", "b"], ["c"]]


def run(
    approach="mib", method="linear", tasks=TASKS, history=None, val_hash="x", **fields
) -> RunResult:
    history = history or [{"a": 0.8, "b": 0.4}, {"a": 0.5, "b": 0.3, "c": 0.1}]
    steps = [
        {"iou": iou, "iterations": 40 - 10 * number, "evaluation": {"content_hash": val_hash}}
        for number, iou in enumerate(history)
    ]
    minutes = [1.0] * len(steps)
    content = {"approach": approach, "method": method, "tasks": tasks, **fields}
    return RunResult.of_json({**content, "steps": steps, "training_minutes": minutes})


def joint(method="linear", tasks=TASKS) -> RunResult:
    return run("joint", method, tasks, [{"a": 0.9, "b": 0.5, "c": 0.4}])


def test_table_4_11_with_the_oracle_of_the_same_method():
    runs = side_by_side(joint(), [run("segvit_cl", "segvit"), run()])
    assert [one.approach for one in runs] == ["segvit_cl", "mib", "joint"]
    segvit, mib, oracle = score_rows(runs)
    assert (oracle["old"], oracle["new"], oracle["average"]) == pytest.approx((0.7, 0.4, None))
    assert segvit["old_reduction"] is None
    assert (mib["old"], mib["average"]) == pytest.approx((0.4, 0.45))
    assert mib["old_reduction"] == pytest.approx(0.3)
    assert mib["old_reduction_share"] == pytest.approx(0.3 / 0.7)
    assert mib["training_minutes"] == 2.0


def test_an_oracle_serves_every_split_of_its_classes():
    runs = side_by_side(run(), [joint(tasks=[["a"], ["c"], ["b"]])])
    assert score_rows(runs)[1]["old"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (run(tasks=[["a"], ["b", "c"]], history=[{"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}]), "other classes"),
        (run("joint", tasks=[["a", "b"]], history=[{"a": 1.0, "b": 1.0}]), "other classes"),
        (run(val_hash="y"), "other images"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(other, words):
    with pytest.raises(ConfigError, match=words):
        side_by_side(run(), [other])


def test_table_4_12_and_the_curve():
    runs = [run(), joint()]
    rows = forgetting_rows(runs)
    assert [row["task"] for row in rows] == ["step 0", "step 1", "mean of later"]
    assert rows[0]["lost"] == pytest.approx(0.2)
    assert rows[2]["last"] == pytest.approx(0.1)
    assert [(row["step"], row["old"]) for row in curve_rows(runs)] == [
        (0, pytest.approx(0.6)), (1, pytest.approx(0.4)), (0, pytest.approx(0.7)),
    ]  # fmt: skip


def test_a_class_without_score_is_null_and_comes_back():
    result = run(history=[{"a": None, "b": 0.4}, {"a": None, "b": 0.3, "c": 0.1}])
    assert result.scores.old == 0.3
    assert RunResult.of_json(result.to_json()).scores == result.scores
    assert result.to_json()["forgetting"][-1] == {"first": 0.1, "last": 0.1, "lost": 0.0}


def test_text_and_csv():
    rows = score_rows([run()])
    text = as_text(rows).splitlines()
    assert text[0].split()[:6] == ["approach", "method", "iterations", "old", "new", "all"]
    assert text[1].split()[:7] == ["mib", "linear", "30", "40.00", "10.00", "30.00", "45.00"]
    (line,) = csv.DictReader(io.StringIO(as_csv(rows)))
    assert line["new"] == "0.1"
    assert line["all_reduction"] == ""


def test_a_run_under_way_is_summed_up():
    begun = run(history=[{"a": 0.8, "b": 0.4}], tasks=TASKS)
    assert begun.summary() == "mIoU % old 60.00, all 60.00, average 60.00"


def test_rows_tell_runs_of_one_approach_apart():
    runs = [run("segvit_cl", "segvit", new_stages=stages) for stages in ("fresh", "first_task")]
    for rows in (score_rows(runs), curve_rows(runs), forgetting_rows(runs)):
        assert {row["approach"] for row in rows} == {"segvit_cl", "segvit_cl:first_task"}
        assert {row["iterations"] for row in rows} == {30}
    assert runs[1].name == "segvit_cl:first_task (segvit)"
    assert run(new_stages="first_task").label == "mib"  # it has no stages
