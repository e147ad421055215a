"""Graphs of `torch.export`, run by torch without this package's model code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.errors import CheckpointError, first_line

RECORD_KEY = "vitseg.json"
"""File of the record within the archive."""


class TorchProgram:
    """An exported program that torch has loaded.

    Args:
        path: The .pt2 file, whose hash has been compared.
        device: Where it runs.

    Attributes:
        written: The record within the file; None: there is none.

    Raises:
        CheckpointError: It is no exported program, is cut off, or is of a newer torch.
    """

    def __init__(self, path: Path, device: torch.device):
        extra = {RECORD_KEY: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:
            raise CheckpointError(
                f"{path}: torch {torch.__version__} cannot load it: {first_line(error)}"
            ) from error
        # Tracing has noted what held of the example (sides of more than a patch, padding that is not none). The graph
        # holds for other images, too, which every export proves, so that these notes are no reason to refuse them.
        program.range_constraints.clear()
        self._device = device
        self._module = program.module(check_guards=False).to(device)
        self.written = str(extra[RECORD_KEY]) or None
        self.name = f"torch {torch.__version__} ({device})"

    def run(self, images: Float[Tensor, "b channels H W"]) -> Sequence[Tensor]:
        return self._module(images.to(self._device))
