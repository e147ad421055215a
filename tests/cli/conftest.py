"""Running the command in this process, and folders for it to run on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.tiny import write_dataset, write_model
from vitseg.cli import main

PROGRESS = re.compile(
    r"[━╸╺]|\bimages/s\b|^iteration \d+: mIoU |: \d+ training and \d+ validation images, "
)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """Lines of stderr that are no progress."""
        return [s for s in self.err.splitlines() if s.strip() and not PROGRESS.search(s)]


@pytest.fixture
def vitseg(capsys, monkeypatch):
    """The `vitseg` command: arguments to a `Result`."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["vitseg", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main.run()
        out, err = capsys.readouterr()
        return Result(stopped.value.code or 0, out, err)

    return run


@pytest.fixture
def on_two_devices():
    """The command in a process of its own, which starts the further ones of its trainings, on the CPU."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vitseg", *map(str, arguments), "training.devices=2"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def refused(vitseg):
    """Runs a command that has to refuse its input; returns its one line."""

    def run(*arguments: object) -> str:
        result = vitseg(*arguments)
        assert result.code == 2, result
        assert len(result.messages) == 1, result.err
        return result.messages[0]

    return run


@pytest.fixture
def data(tmp_path) -> Path:
    return write_dataset(tmp_path / "data")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A model directory of random weights; not to be changed."""
    return write_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(autouse=True)
def _one_thread():
    """Results of a run in another process can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
