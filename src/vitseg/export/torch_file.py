"""Graphs as files of `torch.export`."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch.export import ExportedProgram

from vitseg.export.precision import Batches
from vitseg.files import system_errors
from vitseg.runtimes.record import ExportRecord
from vitseg.runtimes.torch_program import RECORD_KEY


def write_program(
    program: ExportedProgram, record: ExportRecord, path: Path, batches: Batches
) -> None:
    """Write a graph as a .pt2 file with its record within; its numbers are those that were traced.

    Raises:
        OSError: It cannot be written.
    """
    del batches
    # on a full disk torch's own writer ends the process
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={RECORD_KEY: record.within.model_dump_json()})
    with system_errors(path):
        path.write_bytes(content.getbuffer())
