"""One training at a time in a folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny import tiny_recipe, write_dataset
from vitseg.claims import claim_run
from vitseg.errors import ConfigError
from vitseg.runs import OWNER, write_recipe
from vitseg.studies.continued import train_or_continue
from vitseg.training import owner
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.owner import owned
from vitseg.training.recipe import parse_recipe

HOLDS = """
import os, sys, time
from pathlib import Path
from vitseg.training import owner
if sys.argv[2] == "without locks":
    owner.fcntl = None
with owner.owned(Path(sys.argv[1])):
    if sys.argv[2] == "forks" and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    if sys.argv[2] != "forks":
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _impatient(alone, monkeypatch):
    monkeypatch.setattr(owner, "PATIENCE", 0.0)


@contextmanager
def another_owns(out: Path, kind: str = "with locks") -> Iterator[tuple[subprocess.Popen, int]]:
    """A process that owns a folder, and the number that it prints: its own, or that of one that it has forked."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(out), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def refusal(process: int) -> str:
    return f"in use by process {process} on {socket.gethostname()}, which trains there"


@pytest.mark.parametrize("kind", ["with locks", "without locks"])
def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, monkeypatch, kind):
    if kind == "without locks":
        monkeypatch.setattr(owner, "fcntl", None)
    out = tmp_path / "run"
    with another_owns(out, kind) as (process, number):
        with pytest.raises(ConfigError, match=refusal(number)), owned(out):
            raise AssertionError("two own it")
        process.kill()
        process.wait()
        assert (out / OWNER).is_file()
        with owned(out):
            assert (out / OWNER).read_text() == f"{socket.gethostname()} {os.getpid()}\n"
    assert not out.exists() or not [*out.iterdir()]


def test_a_process_that_was_forked_keeps_no_lock(tmp_path):
    with another_owns(tmp_path, "forks") as (process, forked):
        process.kill()
        process.wait()
        try:
            with owned(tmp_path):
                os.kill(forked, 0)  # it runs
        finally:
            os.kill(forked, signal.SIGKILL)


def test_the_owner_comes_in_again_and_nothing_is_left_of_a_start_that_failed(tmp_path):
    out = tmp_path / "a" / "run"
    with owned(out), owned(out):
        assert (out / OWNER).is_file()
        claim_run(out, resume=False)  # its own file is no run
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="refused"), owned(out):
        raise ValueError("refused")
    assert not [*tmp_path.iterdir()]


def test_further_processes_of_the_same_training_are_not_refused(tmp_path, monkeypatch):
    with another_owns(tmp_path):
        for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "1"}.items():
            monkeypatch.setenv(name, value)
        with owned(tmp_path):
            pass


def test_a_job_that_was_started_again_waits_for_a_machine_that_was_lost(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr(owner, "_is_locked", lambda *_: len(looks) == 3)
    monkeypatch.setattr(owner.time, "sleep", looks.append)
    (tmp_path / OWNER).write_text("another-machine 12\n")
    with owned(tmp_path):
        assert len(looks) == 3


def test_no_training_begins_where_another_goes_on(tmp_path):
    data, out = write_dataset(tmp_path / "data"), tmp_path / "run"
    raw = tiny_recipe()
    raw["data"]["source"] = f"folder:{data}"
    recipe = parse_recipe(raw)
    with another_owns(out) as (_, number):
        write_recipe(out, recipe.to_mapping())  # it has begun, and saved nothing yet
        for start in (train, train_or_continue):
            with pytest.raises(ConfigError, match=refusal(number)):
                start(recipe, out, display=Display(quiet=True))
        assert {path.name for path in out.iterdir()} == {OWNER, "recipe.yaml"}
