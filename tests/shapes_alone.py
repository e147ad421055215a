"""Models without values, for tests of sizes and names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitseg.checkpoint.budget import Unfilled


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Within it modules are made on the meta device, without their initialisation."""
    with torch.device("meta"), Unfilled():
        yield
