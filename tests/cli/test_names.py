"""Names of files that are no UTF-8, which Linux allows: they are read, written down and printed like others."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.tiny import write_dataset

ODD = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def root(tmp_path) -> Path:
    root = write_dataset(tmp_path / "data")
    (root / "train.txt").unlink()
    (root / "val.txt").unlink()
    for folder in ("images", "masks"):
        next((root / folder).rglob("train_0.png")).rename(root / folder / ODD)
    return root


@pytest.fixture(autouse=True)
def _file_system(tmp_path):
    try:
        (tmp_path / ODD).touch()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")


def test_a_data_set_is_checked_and_evaluated(vitseg, model, root, tmp_path):
    files = {name: tmp_path / name for name in ("check.json", "check.html", "scores.json")}
    result = vitseg(
        "data", "check", f"folder:{root}", "--workers", 0, "--json", files["check.json"],
        "--html", files["check.html"],
    )  # fmt: skip
    assert result.code == 0, result
    result = vitseg(
        "evaluate", model, "--data", f"folder:{root}", "--split", "all", "--json", files["scores.json"],
        "--report", tmp_path / "report",
    )  # fmt: skip
    assert result.code == 0, result
    for name, file in files.items():
        text = file.read_text(encoding="utf-8")
        assert not name.endswith(".json") or json.loads(text)


def test_an_image_is_explained_and_a_damaged_one_named(vitseg, model, root, tmp_path):
    result = vitseg("explain", model, root / "images" / ODD, "--out", tmp_path / "sheets")
    assert result.code == 0, result
    assert 'src="caf%E9.png"' in (tmp_path / "sheets" / "index.html").read_text()
    (root / "images" / ODD).write_bytes(b"no image")
    result = vitseg("explain", model, root / "images" / ODD, "--out", tmp_path / "others")
    assert result.code == 2
    assert r"caf\udce9.png is not an image in a known format" in result.err


def test_what_a_stream_cannot_show_is_spelt_out(vitseg, root):
    result = vitseg("data", "show", f"folder:{root}")
    assert result.code == 0, result
    assert sys.stdout.errors == "backslashreplace"
