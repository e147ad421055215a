"""Ending a training in the middle, as a job scheduler does."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from vitseg.errors import InterruptedRunError
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe


class _Stopping(Display):
    def __init__(self, at: int):
        super().__init__(quiet=True)
        self.at = at

    def step(self, iteration: int, *arguments: Any, **options: Any) -> Any:
        if iteration == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(iteration, *arguments, **options)


def train_until(iteration: int, recipe: Recipe, out: Path) -> None:
    """Train, and stop with everything saved."""
    with pytest.raises(InterruptedRunError, match=f"stopped at iteration {iteration} "):
        train(recipe, out, display=_Stopping(iteration))
