"""Who only predicts imports little: no loss, no trainer, no matching."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import photo, write_model

MOST_MODULES = 60
"""Of ours, that the predictor may load before it has seen a model."""

PREDICT = """
import numpy as np
from vitseg.inference.predictor import load

found = load({model!r}, device="cpu")(np.zeros((64, 80, 3), np.uint8))
assert found.label_map.shape == (64, 80)
"""
COMMAND = """
from vitseg.cli.main import run

try:
    run()
except SystemExit as end:
    assert not end.code, end.code
"""


def modules_after(code: str, *arguments: str) -> set[str]:
    """What a fresh interpreter has loaded behind some code."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("imports") / "model")


def require_no_training(modules: set[str]) -> None:
    for room in ("vitseg.losses", "vitseg.training", "vitseg.studies", "vitseg.data"):
        assert not {name for name in modules if name == room or name.startswith(f"{room}.")}
    assert "scipy" not in modules
    assert "lightning" not in modules


@pytest.mark.parametrize("module", ["vitseg.inference", "vitseg.inference.predictor"])
def test_the_predictor_loads_few_modules(module):
    modules = modules_after(f"import {module}")
    ours = sorted(name for name in modules if name.partition(".")[0] == "vitseg")
    assert len(ours) <= MOST_MODULES, ours
    require_no_training(modules)


def test_a_loaded_model_predicts_without_losses(model):
    modules = modules_after(PREDICT.format(model=str(model)))
    assert "vitseg.methods.segvit" in modules
    require_no_training(modules)
    methods = {name for name in modules if name.startswith("vitseg.methods.")}
    shared = {f"vitseg.methods.{name}" for name in ("segvit", "table", "model", "method")}
    assert methods == shared  # of all methods, the model's alone


def test_the_verb_predict_loads_no_loss(model, tmp_path):
    Image.fromarray(photo(64, 80)).save(tmp_path / "photo.png")
    out = str(tmp_path / "out")
    modules = modules_after(
        COMMAND, "predict", str(model), str(tmp_path / "photo.png"), "--out", out
    )
    assert "vitseg.methods.segvit" in modules
    assert not {name for name in modules if name.startswith("vitseg.losses")}
    assert "scipy" not in modules
