"""The examples that run exported files in environments without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitseg
from tests import memory, tiny
from tests.export.test_files import export

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MOST_MEMORY = 1_000_000_000


def test_onnxruntime_numpy_and_pillow_are_enough(tmp_path):
    """In an environment that holds nothing else; a subprocess tells how much memory it has taken."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.is_file():
        pytest.skip("needs uv beside Python, as make puts it there")
    bare = tmp_path / "bare"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, bare], check=True)
    python = bare / "bin" / "python"
    needed = ["onnxruntime", "numpy", "pillow"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *needed], check=True)
    for module in ("torch", "vitseg"):
        found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
        assert found.returncode, module

    model = tiny.write_model(tmp_path / "model", inference={"resize": [200, 96]})
    graph, photo, labels = (tmp_path / name for name in ("tiny.onnx", "photo.png", "labels.png"))
    export(model, "--out", graph, "--form", "labels")
    Image.fromarray(tiny.photo(150, 210)).save(photo)
    run = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    told = f"print(runpy.run_path({memory.__file__!r})['peak_bytes']())"
    command = [python, "-c", f"import sys; sys.argv = sys.argv[1:]; {run}; {told}"]
    example = EXAMPLES / "onnx_without_torch.py"
    done = subprocess.run(
        [*command, example, graph, photo, labels], capture_output=True, text=True, check=True
    )
    *shares, taken = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in shares] == list(tiny.NAMES)
    assert int(taken) < MOST_MEMORY

    with Image.open(labels) as picture:
        assert picture.mode == "P"
        found = np.array(picture)
    expected = vitseg.load(model, "cpu")(photo).label_map
    assert (found != expected).mean() < 0.02  # another program resizes
    assert json.loads(Path(f"{graph}.json").read_text())["form"] == "labels"
