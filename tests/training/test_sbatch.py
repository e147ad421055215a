"""The job for SLURM, run by a shell with stand-ins for SLURM's commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "train.sbatch"

SRUN = """#!/bin/bash
echo "$@" > args
if [ -n "$FAILS" ]; then exit 2; fi
trap 'touch saved; exit 143' TERM
touch started
for i in $(seq 600); do sleep 0.05; done
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'first\\nsecond\\n'; else echo "$@" >> requeued; fi
"""


@pytest.fixture
def job(tmp_path):
    """Starts the script in a folder of its own."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def started(**environment: str) -> subprocess.Popen:
        slurm = {"SLURM_JOB_ID": "77", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "a[1-2]"}
        return subprocess.Popen(
            ["bash", str(SCRIPT), "recipe.yaml", "folder:data", "run", "optimizer.lr=1e-4"],
            cwd=tmp_path,
            env={**os.environ, **slurm, "FAILS": "", **environment}
            | {"PATH": f"{commands}:{os.environ['PATH']}"},
        )

    return started


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_script_is_one_that_bash_reads():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_it_starts_torchrun_with_the_numbers_of_the_job(job, tmp_path):
    assert job(FAILS="1").wait(60) == 2
    words = (tmp_path / "args").read_text()
    assert "--nnodes 2 --nproc-per-node 4" in words
    assert "--rdzv-endpoint first:29577" in words
    wanted = "train recipe.yaml --data folder:data --out run training.devices=4 training.num_nodes=2 optimizer.lr=1e-4"
    assert words.strip().endswith(wanted)
    assert not (tmp_path / "requeued").exists(), "what fails is not tried for ever"


@pytest.mark.parametrize(
    ("is_finished", "held"), [(False, "state.ckpt"), (False, "recipe.yaml"), (True, "state.ckpt")]
)
def test_at_the_end_of_its_time_it_saves_and_is_queued_again(job, tmp_path, is_finished, held):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / held).touch()
    if is_finished:
        (tmp_path / "run" / "result.json").touch()
    process = job()
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert (tmp_path / "saved").exists()
    assert "--out run --resume training.devices=4" in (tmp_path / "args").read_text()
    assert (tmp_path / "requeued").exists() is not is_finished
