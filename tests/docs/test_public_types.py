"""What `import vitseg` offers is typed whole: every public name, its members, and its signatures."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vitseg

ROOT = Path(__file__).resolve().parents[2]
PYRIGHT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]


def strict_files() -> set[Path]:
    named = [ROOT / name for name in PYRIGHT["strict"]]
    assert [path for path in named if not path.exists()] == []
    return {file for path in named for file in ([path] if path.is_file() else path.rglob("*.py"))}


def test_the_package_says_that_it_has_types():
    assert (ROOT / "src" / "vitseg" / "py.typed").read_bytes() == b""


@pytest.mark.parametrize("name", vitseg.__all__)
def test_public_names_live_in_files_that_are_checked_strictly(name):
    home = inspect.getsourcefile(inspect.unwrap(getattr(vitseg, name)))
    assert home is not None
    assert Path(home).resolve() in strict_files()


USE = """
from pathlib import Path
from typing import assert_type

import numpy as np
from PIL import Image

import vitseg
from vitseg.evaluation.evaluate import Evaluation
from vitseg.inference.tiles import LargePrediction
from vitseg.integrations.cvat import DetectionFunction, create
from vitseg.training.recipe import Recipe

predictor = vitseg.load("runs/mine", protocol=["flip=true"], dtype="bf16")
assert_type(predictor, vitseg.Predictor)
assert_type(predictor.classes, vitseg.ClassTable)
assert_type(predictor.classes.names, tuple[str, ...])
one = predictor("photo.jpg")
assert_type(one, vitseg.Segmentation)
assert_type(predictor(["a.jpg", Path("b.jpg")]), list[vitseg.Segmentation])
assert_type(predictor(np.zeros((8, 8, 3), np.uint8)), vitseg.Segmentation)
assert_type(one.class_areas, dict[str, float])
assert_type(one.overlay(), Image.Image)
assert_type(one.path, Path | None)
large = vitseg.predict_large(predictor, "big.tif", "labels.tif", max_memory="2GB")
assert_type(large, LargePrediction)
recipe = vitseg.load_recipe("folder/small-vit_tiny", ["optimizer.lr=1e-4"], "folder:mine")
assert_type(recipe, Recipe)
assert_type(vitseg.train(recipe, Path("runs/mine")), Path)
assert_type(vitseg.train(recipe, "runs/mine"), Path)
result = vitseg.evaluate(predictor, vitseg.open_dataset("folder:mine", "val"))
assert_type(result, Evaluation)
assert_type(result.scores.mean_iou, float)
assert_type(create("runs/mine"), DetectionFunction)
try:
    vitseg.load("nowhere")
except (vitseg.CheckpointError, vitseg.ConfigError, vitseg.DataError) as error:
    assert_type(str(error), str)
"""


@pytest.mark.slow
def test_programs_that_use_it_are_checked_strictly(tmp_path):
    """As a type checker sees the installed package: nothing is unknown in what a program takes from it."""
    # A checker infers less of an installed package than of an editable one, so it is shown a copy.
    package = tmp_path / "installed" / "vitseg"
    shutil.copytree(ROOT / "src" / "vitseg", package, ignore=shutil.ignore_patterns("__pycache__"))
    program = tmp_path / "program"
    program.mkdir()
    (program / "use.py").write_text(USE)
    (program / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    pyright = [Path(sys.executable).with_name("pyright"), "--pythonpath", sys.executable]
    found = subprocess.run(
        [*pyright, "--outputjson", "--project", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
    )
    report = json.loads(found.stdout)
    assert [each["message"] for each in report["generalDiagnostics"]] == []
    assert report["summary"]["filesAnalyzed"] == 1
