"""Ctrl-C and SIGTERM on a training, and what --resume makes of it."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import content, write_dataset, write_recipe
from vitseg.inference.predictor import load
from vitseg.training.loop import train
from vitseg.training.recipe import load_recipe

pytestmark = pytest.mark.slow

ITERATIONS = 60
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set, and a recipe that takes some seconds."""
    folder = tmp_path_factory.mktemp("interrupt")
    write_dataset(folder / "data")
    counts = {"iterations": ITERATIONS, "val_interval": ITERATIONS, "save_interval": 1000}
    write_recipe(folder / "tiny.yaml", **counts)
    return folder


@pytest.fixture(scope="module")
def whole(folder) -> Path:
    """The same run without interruption, on one thread as well."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(load_recipe(folder / "tiny.yaml", data=f"folder:{folder / 'data'}"), folder / "whole")
    torch.set_num_threads(threads)
    return folder / "whole"


def arguments(folder: Path, out: Path) -> list[str]:
    return ["train", f"{folder}/tiny.yaml", "--data", f"folder:{folder}/data", "--out", f"{out}"]


def wait_for(path: Path, stop: threading.Event) -> bool:
    """Whether a file has appeared, before five minutes and the event."""
    deadline = time.monotonic() + 300
    while not path.exists() and time.monotonic() < deadline and not stop.is_set():
        time.sleep(0.005)
    return path.exists()


@contextlib.contextmanager
def signal_after_first_step(number: signal.Signals, out: Path) -> Iterator[None]:
    """Sends this process a signal once a run has written its first row; harmless to the tests themselves."""
    stop = threading.Event()

    def send() -> None:
        if wait_for(out / "train.csv", stop) and not stop.is_set():
            os.kill(os.getpid(), number)

    previous = signal.signal(number, lambda *_: None)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        signal.signal(number, previous)


def assert_stopped_early(out: Path, err: str) -> None:
    (line,) = [line for line in err.splitlines() if line.startswith("stopped")]
    assert "everything is saved. Continue with --resume." in line
    assert "Traceback" not in err
    assert 0 < int(line.split()[3]) < ITERATIONS, "the signal came too late to test anything"
    assert (out / "state.ckpt").is_file()
    assert not (out / "result.json").exists()
    assert load(out).record.metrics["iteration"] == int(line.split()[3]), "no model to look at"


def log(run: Path) -> list[tuple[str, ...]]:
    with (run / "train.csv").open() as file:
        return [(row["iteration"], row["loss"], row["lr"]) for row in csv.DictReader(file)]


def assert_same_run(out: Path, whole: Path) -> None:
    assert log(out) == log(whole)
    weights = load_file(out / "last" / "model.safetensors")
    expected = load_file(whole / "last" / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_stopped_run_resumes_to_the_weights_of_an_unstopped_one(
    folder, whole, vitseg, number, code
):
    out = folder / number.name
    with signal_after_first_step(number, out):
        result = vitseg(*arguments(folder, out))
    assert result.code == code, result
    assert_stopped_early(out, result.err)
    result = vitseg(*arguments(folder, out), "--resume")
    assert result.code == 0, result
    assert_same_run(out, whole)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_process_of_its_own_is_stopped_and_resumed(folder, whole, number, code):
    out = folder / f"process-{number.name}"
    command = [sys.executable, "-m", "vitseg", *arguments(folder, out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            wait_for(out / "train.csv", threading.Event())
            process.send_signal(number)
            _, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert_stopped_early(out, err)
    done = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(out, whole)


def test_resume_with_another_recipe_is_refused(folder, whole, refused):
    before = content(whole)
    line = refused(*arguments(folder, whole), "optimizer.lr=7e-4", "--resume")
    assert line.startswith("CheckpointError: ")
    assert "started with another recipe: optimizer.lr changed" in line
    assert content(whole) == before


def test_resume_of_a_finished_run_changes_no_result(folder, whole, vitseg):
    before = content(whole)
    result = vitseg(*arguments(folder, whole), "--resume")
    assert result.code == 0
    assert result.messages == [f"best model: {whole / 'best'}"]
    after = content(whole)
    for name in ("best/model.safetensors", "state.ckpt", "train.csv", "val.csv", "result.json"):
        assert after[name] == before[name], name


def test_resume_with_what_moves_no_weight(folder, whole, vitseg):
    before = content(whole)
    changed = ("data.num_workers=1", "training.val_interval=3", "training.save_interval=2")
    result = vitseg(*arguments(folder, whole), *changed, "--resume")
    assert result.code == 0, result
    after = content(whole)
    for name in ("best/model.safetensors", "train.csv", "result.json"):
        assert after[name] == before[name], name


@pytest.mark.parametrize("share", [0, 0.5])
def test_resume_from_a_damaged_state_is_one_line(folder, whole, refused, tmp_path, share):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    state = (out / "state.ckpt").read_bytes()
    (out / "state.ckpt").write_bytes(state[: int(share * len(state))])
    line = refused(*arguments(folder, out), "--resume")
    assert line.startswith("CheckpointError: ")
    assert "state.ckpt is damaged or no training state" in line
