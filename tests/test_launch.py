"""Which processes were started for one work, by whom, and which one this is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vitseg.launch import Started, is_first_process, is_repeating, started, will_start

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "a",
    "WORLD_SIZE": "8",
    "RANK": "5",
    "LOCAL_RANK": "1",
}
STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
BATCH = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
PODS = {"WORLD_SIZE": "2", "RANK": "1"}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, Started(None, 1, 0, 0)),
        (TORCHRUN, Started("torchrun", 8, 5, 1)),
        ({**TORCHRUN, **STEP}, Started("torchrun", 8, 5, 1)),
        (STEP, Started("SLURM", 4, 3, 1)),
        (BATCH, Started(None, 1, 0, 0)),
        (PODS, Started("WORLD_SIZE", 2, 1, 0)),
        ({"WORLD_SIZE": "", "RANK": "one"}, Started(None, 1, 0, 0)),
    ],
)
def test_who_has_started_what(alone, monkeypatch, variables, wanted):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started() == wanted
    assert is_first_process() == (wanted.rank == 0)
    assert not is_repeating()


SAYS = "import os; from vitseg.launch import started; print(*started())"


@pytest.mark.parametrize("others", [{}, {**STEP, "SLURM_PROCID": "0"}, {"RANK": "0"}])
def test_processes_that_the_first_one_starts(alone, monkeypatch, others):
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    will_start(2)
    assert started() == Started("vitseg", 2, 0, 0)
    assert is_first_process()
    assert not is_repeating()

    def said(**variables: str) -> list[str]:
        environment = {**os.environ, **variables}
        command = [sys.executable, "-c", SAYS]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    assert said(LOCAL_RANK="1") == ["vitseg", "2", "1", "1"]
    assert said(LOCAL_RANK="0")[0] != "vitseg", "another work, started by the first process"
