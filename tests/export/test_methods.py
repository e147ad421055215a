"""One file for images of any size, of many methods: the benchmark that compares all of them, run on some.

The benchmark is a process of its own: the checks of shapes in signatures would be traced with the model.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitseg.methods import METHODS

pytestmark = pytest.mark.slow
pytest.importorskip("onnx")
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "export_parity.py"

ONNX = [
    "segvit_cl",
    "segvit_joint",
    "upernet",
    "segformer, Swin",
    "eomt",
    "nrd",
    "carafe",
    "duc",
    "semaskvit",
    "maskformer",
    "mask2former, FaPN",
    "fpn, mit_b0",
]
"""What differs in how it is traced; test_files has segvit, test_pruned dtop."""

OTHERS = {
    "openvino": ["upernet", "segformer, Swin"],
    "torch-export": [
        "pspnet",
        "linear, vit_small_patch16_dinov3",
        "linear, beitv2_base_patch16_224",
    ],
}
QUICK = [("onnx", "upernet"), ("torch-export", "pspnet")]
CASES = [
    pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.long)
    for pair in [*(("onnx", case) for case in ONNX), *((f, c) for f in OTHERS for c in OTHERS[f])]
]


def run_benchmark(*arguments: str) -> list[str]:
    command = [sys.executable, BENCHMARK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("format", "case"), CASES)
def test_a_file_is_its_model_at_all_sizes(format, case):
    if format == "openvino":
        pytest.importorskip("openvino")
    lines = run_benchmark("--formats", format, "--cases", case)
    (line,) = (line for line in lines if line.startswith(f"{case}  "))
    *_, largest, _, differing, _, _ = line.split()
    assert float(largest) < 1e-3, line
    assert float(differing) <= 0.1, line


def test_the_benchmark_has_every_method():
    assert {case.partition(",")[0] for case in run_benchmark("--list")} == set(METHODS)
