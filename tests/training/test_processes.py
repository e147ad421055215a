"""What the processes of a training have to do with each other, as one process can see it."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Timer
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from vitseg.errors import ConfigError, SaidElsewhereError
from vitseg.launch import will_start
from vitseg.training import children
from vitseg.training.processes import require_processes, together, told_of_statistics

LONG = [sys.executable, "-c", "import time; time.sleep(100)"]


def of(world_size: int, device: str = "cpu") -> Any:
    return cast(Any, SimpleNamespace(world_size=world_size, device=torch.device(device)))


def test_statistics_of_each_process_are_told():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    told = told_of_statistics(model, of(2), 8)
    assert told is not None
    assert "(1) takes its statistics of the 4 images of each process, not of all 8" in told
    assert told_of_statistics(model, of(1), 8) is None
    assert told_of_statistics(model, of(2, "cuda"), 8) is None
    assert told_of_statistics(nn.Linear(2, 2), of(2), 8) is None
    model[1].requires_grad_(False)  # as in a frozen backbone: they stay as they are
    assert told_of_statistics(model, of(2), 8) is None


def test_one_process_fails_by_itself():
    with pytest.raises(OSError, match="full"), together(of(1)):
        raise OSError("full")


BATCH = {"SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SHELL = {**BATCH, "SLURM_JOB_NAME": "interactive"}


def of_step(tasks: int, **others: str) -> dict[str, str]:
    """The variables of a task that srun has started."""
    number = str(tasks)
    return {"SLURM_STEP_NUM_TASKS": number, "SLURM_NTASKS": number, **BATCH, **others}


PODS = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "first"}


@pytest.mark.parametrize(
    ("variables", "accepted", "refused", "told"),
    [
        ({}, [(1, 1), (2, 1)], [(2, 2)], "nothing has started this process on several"),
        (of_step(4, SLURM_NTASKS_PER_NODE="2"), [(2, 2)], [(1, 1), (2, 1)], "has started 4 tasks"),
        (of_step(2), [], [(2, 1)], "NODE is not set: start .* --ntasks-per-node=2"),
        (of_step(1), [(1, 1)], [(2, 1)], "has started 1 tasks, but .* make 2 processes"),
        (of_step(1), [(1, 1)], [(2, 2)], "has started 1 tasks, but .* make 4 processes"),
        # a batch script of several tasks without srun has one process
        ({"SLURM_NTASKS": "2", **BATCH}, [(1, 1)], [(2, 1)], "has started 1 tasks"),
        # shells that SLURM knows as interactive start the others themselves
        ({"SLURM_NTASKS": "2", **SHELL}, [(1, 1), (2, 1)], [(2, 2)], "nothing has started"),
        (of_step(1, **SHELL), [(1, 1), (2, 1)], [(2, 2)], "nothing has started"),
        (PODS, [], [(1, 1), (2, 1)], "2 processes were started .* torchrun"),
        ({**PODS, "LOCAL_RANK": "1"}, [(2, 1)], [(1, 1)], "2 processes were started"),
        ({"WORLD_SIZE": "1", "RANK": "0"}, [(1, 1), (2, 1)], [(2, 2)], "nothing has started"),
    ],
)
def test_no_process_trains_by_itself_or_waits_in_vain(
    alone, monkeypatch, variables, accepted, refused, told
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for numbers in accepted:
        require_processes(*numbers)
    for numbers in refused:
        with pytest.raises(ConfigError, match=told):
            require_processes(*numbers)


def test_all_trainings_of_a_command_have_the_processes_of_the_first(alone):
    will_start(2)
    require_processes(2, 1)
    with pytest.raises(ConfigError, match=r"give all of them the same training\.devices"):
        require_processes(1, 1)


@pytest.mark.parametrize(
    ("gpus", "told"), [(2, "has 2 GPUs: give training.devices=2"), (0, "a CPU, which takes")]
)
def test_more_devices_than_there_are(alone, monkeypatch, gpus, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    require_processes(2, 1)
    with pytest.raises(ConfigError, match=told):
        require_processes(100_000, 1)


def test_what_a_training_has_started_ends_when_it_fails(monkeypatch):
    monkeypatch.setattr(children, "GRACE", 0.1)
    process = subprocess.Popen(LONG)
    launcher = SimpleNamespace(procs=[process])
    children.watch(cast(Any, SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))))
    with pytest.raises(ValueError, match="failed"), children.ended():
        raise ValueError("failed")
    assert process.poll() is not None


def test_a_further_process_waits_for_what_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "_PAUSE", 0.01)
    file = tmp_path / "scores.json"
    Timer(0.1, file.touch).start()
    children.wait_for_first(file)
    file.unlink()
    monkeypatch.setattr(children, "_PARENT", -1)  # another one has taken it on
    with pytest.raises(SaidElsewhereError):
        children.wait_for_first(file)


@pytest.mark.slow
def test_a_process_that_waits_in_vain_is_ended_with_one_line():
    script = f"""
import subprocess, sys, time
from types import SimpleNamespace
from vitseg.training import children
children.GRACE = 0.1
failed = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
other = subprocess.Popen({LONG!r})
print(other.pid, flush=True)
launcher = SimpleNamespace(procs=[other, failed])
children.watch(SimpleNamespace(strategy=SimpleNamespace(launcher=launcher)))
time.sleep(100)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "process 2 of this training has ended" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)
