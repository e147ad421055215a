"""Ctrl-C while the command starts: its own line and exit code at whatever moment, never a traceback or an abort."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.tiny import write_dataset, write_model, write_recipe
from vitseg.cli import interrupts
from vitseg.training.stop import StopSignals

START = """
import os, signal, sys, threading, time
from vitseg.cli import main

def send():
    time.sleep(float(sys.argv.pop()))
    os.kill(os.getpid(), signal.SIGINT)

sender = threading.Thread(target=send, daemon=True)
sender.start()
time.sleep(0.005)
sys.argv[0] = "vitseg"
main.run()
"""
"""The command, and Ctrl-C the given seconds after it began; before, there is only Python itself."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    data = write_dataset(folder / "data")
    write_recipe(folder / "tiny.yaml", iterations=2, val_interval=2)
    train = ["train", folder / "tiny.yaml", "--data", f"folder:{data}", "--out", folder / "run"]
    predict = ["predict", write_model(folder / "model"), data / "images", "--out", folder / "out"]
    return {
        "help": ["--help"],
        "train": train,
        "predict": [*predict, "--overwrite"],
        "doctor": ["doctor"],
    }


def interrupted(command, seconds):
    arguments = [sys.executable, "-c", START, *map(str, command), str(seconds)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300)


def check(done):
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == interrupts.INTERRUPTED:
        assert "Interrupted." in done.stderr or "stopped at iteration" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["help", "train"])
def test_at_the_beginning(commands, verb):
    check(interrupted(commands[verb], 0.05))


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        "help",
        "train",
        *(pytest.param(verb, marks=pytest.mark.long) for verb in ("predict", "doctor")),
    ],
)
def test_at_many_moments(commands, verb):
    for moment in range(25):
        check(interrupted(commands[verb], 0.01 + 0.08 * moment))


def test_where_it_is_ignored_it_stays_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.Handled(), interrupts.Raised(), StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.received == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_run_as_a_function_leaves_another_handler_alone():
    called = []
    previous = signal.signal(signal.SIGINT, lambda *_: called.append(True))
    try:
        with interrupts.Handled(), interrupts.Raised(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert called == [True]
