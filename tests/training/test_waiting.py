"""The share of its time that a training waits for data."""

from __future__ import annotations

import csv
import json

import pytest

from tests.tiny import tiny_recipe, write_dataset
from vitseg.training import waiting
from vitseg.training.loop import train
from vitseg.training.recipe import parse_recipe
from vitseg.training.state import Progress
from vitseg.training.waiting import WaitingClock


class Time:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    clock = Time()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def loaded(time: Time, seconds: list[float]):
    for wait in seconds:
        time.now += wait
        yield wait


def test_waiting_is_a_share_of_iterations_alone(time):
    progress = Progress()
    clock = WaitingClock(progress)
    found = []
    for _ in clock.timed(loaded(time, [100.0, 1.0, 1.0, 3.0])):
        time.now += 3  # the step
        found.append(clock.stepped())
        time.now += 50  # a validation
    assert found[0] == 0  # the loader had to start
    assert found[1] == pytest.approx(1 / 4)
    assert found[2] == pytest.approx(1 / 4)
    assert found[3] == pytest.approx((0.95 * 1.95 + 3) / (0.95 * 7.8 + 6))
    assert progress.waiting_minutes == pytest.approx(5 / 60)
    assert progress.step_minutes == pytest.approx(14 / 60)
    assert progress.waiting_share == pytest.approx(5 / 14)


def test_of_one_iteration_no_share_is_known(time):
    progress = Progress()
    clock = WaitingClock(progress)
    for _ in clock.timed(loaded(time, [1.0])):
        clock.stepped()
    assert progress.waiting_share is None


def test_every_run_says_it(tmp_path):
    root = write_dataset(tmp_path / "data")
    raw = tiny_recipe()
    raw["data"]["source"] = f"folder:{root}"
    train(parse_recipe(raw), tmp_path / "run")
    with (tmp_path / "run/train.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["waiting"]) == 0  # of the first iteration
    share = json.loads((tmp_path / "run/result.json").read_text())["waiting"]
    assert 0 < share < 1


def test_an_older_table_keeps_its_columns(tmp_path):
    from vitseg.training.log import RunLog

    (tmp_path / "train.csv").write_text("iteration,loss,lr\n10,1,2\n")
    log = RunLog(tmp_path, 10)
    log.write("train", 20, {"loss": 3.0, "waiting": 0.5, "lr": 4.0})
    log.close()
    assert (tmp_path / "train.csv").read_text().split() == ["iteration,loss,lr", "10,1,2", "20,3,4"]
