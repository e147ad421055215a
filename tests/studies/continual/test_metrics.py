"""The metrics against the thesis' printed numbers and by hand."""

from __future__ import annotations

import math

import pytest

from vitseg.studies.continual.metrics import (
    base_curve,
    continual_scores,
    forgetting,
    mean_forgetting,
    mean_iou,
    reduction,
)

FIRST = (34.93, 39.78, 41.10, 36.22, 27.95)
LAST = (34.51, 39.30, 40.86, 35.09, 27.95)


def thesis_history():
    """SegViT-CL on 100-10: tables 4.11 and 4.12, with every class of a task at its task's mIoU."""
    tasks = [
        [f"{task}.{number}" for number in range(100 if task == 0 else 10)] for task in range(6)
    ]
    firsts, lasts = (54.0, *FIRST), (53.77, *LAST)
    history = [
        {
            name: (lasts if step == 5 or task < step else firsts)[task] / 100
            for task in range(step + 1)
            for name in tasks[task]
        }
        for step in range(6)
    ]
    return history, tasks


def test_table_4_11_and_4_12():
    history, tasks = thesis_history()
    scores = continual_scores(history, tasks)
    assert 100 * scores.old == pytest.approx(53.77)
    assert 100 * scores.new == pytest.approx(35.54, abs=0.005)
    assert 100 * scores.all == pytest.approx(47.70, abs=0.01)
    columns = forgetting(history, tasks)
    lost = [100 * column.lost for column in columns[1:]]
    assert lost == pytest.approx([0.42, 0.48, 0.24, 1.13, 0.0], abs=1e-9)
    average = mean_forgetting(columns)
    assert 100 * average.first == pytest.approx(35.99, abs=0.01)
    assert 100 * average.last == pytest.approx(35.54, abs=0.01)
    assert 100 * average.lost == pytest.approx(0.45, abs=0.005)
    assert base_curve(history, tasks) == pytest.approx([0.54] + [0.5377] * 5)


def test_the_average_over_steps_by_hand():
    history = [{"a": 0.8, "b": 0.4}, {"a": 0.5, "b": 0.3, "c": 0.1}]
    scores = continual_scores(history, [["a", "b"], ["c"]])
    assert scores == pytest.approx((0.4, 0.1, 0.3, (0.6 + 0.3) / 2))


def test_a_joint_training_has_one_step():
    scores = continual_scores([{"a": 0.8, "b": 0.4, "c": 0.3}], [["a", "b"], ["c"]])
    assert scores == pytest.approx((0.6, 0.3, 0.5, 0.5))


def test_undefined_classes_are_left_out():
    assert mean_iou({"a": 0.5, "b": math.nan}, ["a", "b"]) == 0.5
    assert math.isnan(mean_iou({"b": math.nan}, ["b"]))
    assert math.isnan(continual_scores([{"a": 0.5}], [["a"]]).new)
    assert math.isnan(mean_forgetting(forgetting([{"a": 0.5}], [["a"]])).last)


def test_reductions_of_table_4_11():
    """In points for SegViT-CL (51.28 - 49.09), as a share for MiB on ViT (42.75 and 39.19)."""
    assert 100 * reduction(0.4909, 0.5128).points == pytest.approx(2.19)
    assert 100 * reduction(0.3919, 0.4275).share == pytest.approx(8.33, abs=0.01)
    assert math.isnan(reduction(0.0, 0.0).share)
