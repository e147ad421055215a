"""Who only predicts imports little: no loss, no trainer, no matching."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.tiny import photo, write_model

MOST_MODULES = 60
"""Of ours, that the predictor may load before it has seen a model."""

STAGES = """
import json
import sys

found = {{}}

def keep(stage):
    found[stage] = sorted(sys.modules)

import vitseg.inference
keep("vitseg.inference")

import vitseg.inference.predictor
keep("vitseg.inference.predictor")

import numpy as np
from vitseg.inference.predictor import load

result = load({model!r}, device="cpu")(np.zeros((64, 80, 3), np.uint8))
assert result.label_map.shape == (64, 80)
keep("a loaded model")

from vitseg.cli.main import run

sys.argv[1:] = ["predict", {model!r}, {photo!r}, "--out", {out!r}]
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
keep("the verb predict")
print(json.dumps(found))
"""
"""From little to much in one process, since the first import of torch takes most of the time."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, set[str]]:
    """The modules that a fresh interpreter has loaded by the end of every stage."""
    folder = tmp_path_factory.mktemp("imports")
    write_model(folder / "model")
    Image.fromarray(photo(64, 80)).save(folder / "photo.png")
    names = {"model": folder / "model", "photo": folder / "photo.png", "out": folder / "out"}
    code = STAGES.format(**{name: str(path) for name, path in names.items()})
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {k: set(v) for k, v in json.loads(done.stdout.splitlines()[-1]).items()}


def require_no_training(modules: set[str]) -> None:
    for room in ("vitseg.losses", "vitseg.training", "vitseg.studies", "vitseg.data"):
        assert not {name for name in modules if name == room or name.startswith(f"{room}.")}
    assert "scipy" not in modules
    assert "lightning" not in modules


@pytest.mark.parametrize("module", ["vitseg.inference", "vitseg.inference.predictor"])
def test_the_predictor_loads_few_modules(loaded, module):
    modules = loaded[module]
    ours = sorted(name for name in modules if name.partition(".")[0] == "vitseg")
    assert len(ours) <= MOST_MODULES, ours
    require_no_training(modules)


def test_a_loaded_model_predicts_without_losses(loaded):
    modules = loaded["a loaded model"]
    assert "vitseg.methods.segvit" in modules
    require_no_training(modules)
    methods = {name for name in modules if name.startswith("vitseg.methods.")}
    shared = {f"vitseg.methods.{name}" for name in ("segvit", "table", "model", "method")}
    assert methods == shared  # of all methods, the model's alone


def test_the_verb_predict_loads_no_loss(loaded):
    modules = loaded["the verb predict"]
    assert "vitseg.methods.segvit" in modules
    assert not {name for name in modules if name.startswith("vitseg.losses")}
    assert "scipy" not in modules
