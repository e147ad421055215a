"""A run that is killed again and again, at random moments and in the middle of saves, is the run that never was."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.nursery import Group
from tests.training.runs import SMALL, arguments, rows

pytestmark = [pytest.mark.slow, pytest.mark.long]

KILLS = {"one process": 20, "two processes": 6, "two sharded processes": 6}
FIELDS = {
    "one process": {},
    "two processes": {"training.devices": 2},
    "two sharded processes": {"training.devices": 2, "training.strategy": "fsdp"},
}


class Moments:
    """When to kill: half the times as soon as a save is on its way, else anywhere within some iterations."""

    def __init__(self, out: Path, step: float):
        self._out = out
        self._step = step
        self._random = random.Random(0)
        self.in_saves = 0

    def wait(self, group: Group, number: int) -> None:
        """Return at the moment; at once where the processes have ended."""
        before = self._saved()
        self._until(group, lambda: self._saved() != before)  # one save further at least
        if number % 2:
            self._until(group, self._is_saving)
            self.in_saves += self._is_saving()
            time.sleep(self._random.uniform(0, 0.003))
        else:
            time.sleep(self._random.uniform(0, 4 * self._step))

    def _saved(self) -> int:
        state = self._out / "state.ckpt"
        return state.stat().st_mtime_ns if state.is_file() else 0

    def _is_saving(self) -> bool:
        return any(self._out.glob(".state.ckpt.*")) or any(self._out.glob("state/.*"))

    def _until(self, group: Group, happened) -> None:
        until = time.monotonic() + 60
        while not happened() and time.monotonic() < until:
            if None not in group.codes():
                return


@pytest.mark.parametrize("kind", KILLS)
def test_killed_at_random_moments_a_run_is_the_same_bit_by_bit(nursery, scenes, tmp_path, kind):
    fields = {
        **SMALL,
        **FIELDS[kind],
        "training.iterations": 12 * KILLS[kind],
        "training.save_interval": 2,
        "training.val_interval": 30,
        "backbone.drop_path": 0.2,
    }
    world = int(fields.get("training.devices", 1))
    log = tmp_path / "log"

    def start(name: str, *options: str) -> Group:
        return nursery.train(arguments(scenes, tmp_path / name, *options, **fields), log, world)

    began = time.monotonic()
    assert start("whole").wait() == [0] * world, log.read_text()
    step = (time.monotonic() - began) / fields["training.iterations"]
    moments = Moments(tmp_path / "killed", step)
    for number in range(KILLS[kind]):
        options = ["--resume"] if number else []
        group = start("killed", *options)
        moments.wait(group, number)
        assert None in group.codes(), f"it has ended before it was killed: {log.read_text()}"
        group.kill()
    assert moments.in_saves, "no kill came in the middle of a save"
    assert start("killed", "--resume").wait() == [0] * world, log.read_text()
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    for folder in ("best", "last"):
        found, wanted = (
            load_file(tmp_path / name / folder / "model.safetensors")
            for name in ("killed", "whole")
        )
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert "Traceback" not in log.read_text()
