"""Two processes train one model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vitseg.data.scenes import write_scenes
from vitseg.inference.predictor import load


@pytest.mark.slow
def test_two_devices_write_one_run(tmp_path):
    write_scenes(tmp_path / "scenes", 8, 2, (64, 64), seed=0)
    overrides = {
        "training.devices": 2,
        "training.iterations": 4,
        "training.batch_size": 4,
        "training.val_interval": 2,
        "schedule.warmup_iterations": 1,
        "data.augment.crop_size": [64, 64],
        "data.num_workers": 0,
    }
    command = [sys.executable, "-m", "vitseg.cli", "train", "scenes/segvit-test_vit"]
    command += [f"{key}={value}" for key, value in overrides.items()]
    command += ["--data", f"folder:{tmp_path / 'scenes'}", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "run/val.csv").read_text().split()
    assert [row.partition(",")[0] for row in rows] == ["iteration", "2", "4"]
    load(tmp_path / "run")
