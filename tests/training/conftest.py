"""What trainings that are started as processes need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.nursery import Nursery
from vitseg.data.scenes import write_scenes


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where processes are started without importing everything anew."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A data set of a few tiny images."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, 8, 3, (64, 64), seed=0)
    return root
