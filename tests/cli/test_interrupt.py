"""Ctrl-C and SIGTERM on a real training process, and what --resume makes of it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import content, write_dataset, write_recipe

ITERATIONS = 120
TRAIN = "import sys; from vitseg.cli.main import run; sys.argv[0] = 'vitseg'; run()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set, and a recipe of which a few seconds are needed."""
    folder = tmp_path_factory.mktemp("interrupt")
    write_dataset(folder / "data")
    write_recipe(
        folder / "tiny.yaml", iterations=ITERATIONS, val_interval=ITERATIONS, save_interval=1000
    )
    return folder


def command(folder: Path, out: Path) -> list[str]:
    return ["train", str(folder / "tiny.yaml"), "--data", f"folder:{folder / 'data'}", "--out", str(out)]  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(folder) -> dict[signal.Signals, tuple[int, str, str]]:
    """Runs that got a signal after their first steps: exit code, stdout, stderr. Both at once, to start torch once."""
    runs = {}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for number in (signal.SIGINT, signal.SIGTERM):
        runs[number] = subprocess.Popen(
            [sys.executable, "-c", TRAIN, *command(folder, folder / number.name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    waiting = dict(runs)
    deadline = time.monotonic() + 300
    try:
        while waiting and time.monotonic() < deadline:
            for number, process in list(waiting.items()):
                if (folder / number.name / "train.csv").exists() or process.poll() is not None:
                    process.send_signal(number)
                    del waiting[number]
            time.sleep(0.01)
        done = {}
        for number, process in runs.items():
            out, err = process.communicate(timeout=300)
            done[number] = (process.returncode, out, err)
        return done
    finally:
        for process in runs.values():
            process.kill()


@pytest.fixture(scope="module")
def uninterrupted(folder) -> dict[str, torch.Tensor]:
    """The weights of the same run without interruption, on one thread as well."""
    from vitseg.training.loop import train
    from vitseg.training.recipe import load_recipe

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = load_recipe(folder / "tiny.yaml", data=f"folder:{folder / 'data'}")
    train(recipe, folder / "whole")
    torch.set_num_threads(threads)
    return load_file(folder / "whole" / "last" / "model.safetensors")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_exits_and_resume_ends_at_the_same_weights(
    folder, interrupted, uninterrupted, vitseg, number, code
):
    returned, _, err = interrupted[number]
    out = folder / number.name
    assert returned == code, err
    (line,) = [line for line in err.splitlines() if line.startswith("stopped")]
    assert "everything is saved. Continue with --resume." in line
    assert "Traceback" not in err
    stopped = int(line.split()[3])
    assert 0 < stopped < ITERATIONS, "the signal came too late to test anything"
    assert (out / "state.ckpt").is_file()
    assert not (out / "result.json").exists()

    result = vitseg(*command(folder, out), "--resume")
    assert result.code == 0, result
    weights = load_file(out / "last" / "model.safetensors")
    assert weights.keys() == uninterrupted.keys()
    for name, value in weights.items():
        assert torch.equal(value, uninterrupted[name]), name
    logs = []
    for run in (out, folder / "whole"):
        with (run / "train.csv").open() as file:
            logs.append(
                [(row["iteration"], row["loss"], row["lr"]) for row in csv.DictReader(file)]
            )
    assert logs[0] == logs[1]


def test_resume_with_another_recipe_is_refused(folder, uninterrupted, refused):
    out = folder / "whole"
    before = content(out)
    line = refused(*command(folder, out), "optimizer.lr=7e-4", "--resume")
    assert line.startswith("CheckpointError: ")
    assert "started with another recipe: optimizer.lr changed" in line
    assert content(out) == before


def test_resume_of_a_finished_run_changes_no_weights(folder, uninterrupted, vitseg):
    out = folder / "whole"
    before = content(out)
    result = vitseg(*command(folder, out), "--resume")
    assert result.code == 0
    assert result.out.strip() == f"best model: {out / 'best'}"
    after = content(out)
    for name in ("best/model.safetensors", "state.ckpt", "train.csv", "val.csv", "result.json"):
        assert after[name] == before[name], name
