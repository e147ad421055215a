"""Fixtures for every test; shapes in signatures are checked while the tests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = (
    "types", "layers", "backbones", "decoders", "losses", "methods", "inference", "metrics", "extend",
    "studies.continual",
)  # fmt: skip
install_import_hook([f"vitseg.{package}" for package in CHECKED], "beartype.beartype")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference tensors, where there is one."""
    folder = Path(os.environ.get("VITSEG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared folder ({folder} is absent; VITSEG_SHARED names another)")
    return folder
