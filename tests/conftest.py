"""Fixtures for every test; shapes in signatures are checked while the tests run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests import shape_checks

ROOT = Path(__file__).resolve().parent.parent

ROOMS = {
    path.stem
    for path in (ROOT / "src" / "vitseg").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
} - {"__init__", "cli"}  # of the command line typer reads the signatures
STRICT = {
    "types", "layers", "backbones", "decoders", "losses", "methods", "inference", "explain", "metrics", "extend",
}  # fmt: skip
"""Rooms whose signatures are checked whole; of the others the shapes alone are."""
shape_checks.install(whole=STRICT, shapes=ROOMS - STRICT)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background of a script ignores it, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference tensors, where there is one."""
    folder = Path(os.environ.get("VITSEG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared folder ({folder} is absent; VITSEG_SHARED names another)")
    return folder


@pytest.fixture
def alone() -> Iterator[None]:
    """Within it, no variable says that this process is one of several; what a test sets of them is gone behind it."""
    with mock.patch.dict(os.environ):
        for name in [*os.environ]:
            if name.startswith(("SLURM_", "TORCHELASTIC_", "VITSEG_PROCESSES")):
                del os.environ[name]
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"):
            os.environ.pop(name, None)
        yield


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, headless, driven by playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("needs Chromium on the PATH (a system package)")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield started
        started.close()
