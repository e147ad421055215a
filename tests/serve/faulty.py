"""Models that fail on images whose first pixel says so; they run instead of the ordinary ones where `launch` asks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.serve.octants import COLORS, encoded
from vitseg.serve import model_process, running
from vitseg.serve.jobs import Failure, Result, Task
from vitseg.serve.places import ModelPlaces

RAISES, NO_NUMBERS, NO_MEMORY, DIES, SLOW = range(1, 6)
"""Red of the first pixel, whose green is 77."""

HELD = 60.0
"""Seconds that a slow image waits at most."""


def held_by(folder: Path) -> Path:
    """The file that holds slow images up as long as it is there."""
    return folder / "held"


def marked(kind: int, labels: np.ndarray) -> bytes:
    """An image of labels on which the models fail."""
    pixels = COLORS[labels].copy()
    pixels[0, 0] = kind, 77, 0
    return encoded(Image.fromarray(pixels))


@dataclass(frozen=True)
class FaultyPlaces(ModelPlaces):
    """With a file that gets a line for every image that is run."""

    record: str = ""


class FaultyRunner(running.Runner):
    def __init__(self, places: FaultyPlaces, *arguments: Any):
        super().__init__(places, *arguments)
        self._record = Path(places.record)
        for predictor in (*self._predictors.values(), *self._in_windows.values()):
            predictor.run = self._failing(predictor.run)

    def run(self, tasks: Sequence[Task]) -> list[Result | Failure]:
        with self._record.open("a") as file:
            file.write("".join(f"{task.number} {len(tasks)}\n" for task in tasks))
        return super().run(tasks)

    def _failing(self, run: Any) -> Any:
        def failing(images: torch.Tensor) -> Any:
            kinds = []
            for image in images:
                red, green = ((image[:2, 0, 0] + 1) * 127.5).round().int().tolist()
                kinds.append(red if green == 77 else 0)
            if RAISES in kinds:
                raise RuntimeError("secret of /home/someone")
            if NO_MEMORY in kinds:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            if DIES in kinds:
                os.kill(os.getpid(), signal.SIGKILL)
            if SLOW in kinds:
                end = time.monotonic() + HELD
                while held_by(self._record.parent).exists() and time.monotonic() < end:
                    time.sleep(0.02)
            output = run(images)
            for index, kind in enumerate(kinds):
                if kind == NO_NUMBERS:
                    output.mask_logits[index] = torch.nan
            return output

        return failing


def serve(*arguments: Any) -> None:
    """What the process of the models does: as ever, but with this runner."""
    running.Runner = FaultyRunner
    model_process._serve(*arguments)
