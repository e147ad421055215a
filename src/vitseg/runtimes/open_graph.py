"""From an exported file to what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from vitseg.config import parse
from vitseg.errors import CheckpointError, ConfigError
from vitseg.runtimes.graph_model import GraphModel, Session
from vitseg.runtimes.places import read_verified, record_place
from vitseg.runtimes.record import ExportRecord


class Runtime(Session, Protocol):
    """A session that knows the record within its file.

    Attributes:
        written: The record; None: there is none.
    """

    written: str | None


def read_export_record(graph: Path) -> ExportRecord:
    """The verified record of an exported file.

    Raises:
        CheckpointError: A file is missing or has changed, or is not what an export writes.
    """
    try:
        return parse(ExportRecord, dict(read_verified(graph)))
    except ConfigError as error:
        raise CheckpointError(f"{record_place(graph)}: {error}") from error


def open_session(graph: Path, record: ExportRecord, device: torch.device) -> Session:
    """Load an exported file into the runtime of its format.

    Raises:
        CheckpointError: The file is damaged, or not the one that its record is about.
        ConfigError: The runtime is missing, or cannot use the device.
    """
    session: Runtime
    if record.format == "onnx":
        from vitseg.runtimes.onnx_runtime import OnnxSession

        session = OnnxSession(graph, device)
    elif record.format == "openvino":
        from vitseg.runtimes.openvino_runtime import OpenVinoSession

        session = OpenVinoSession(graph, device, record.precision)
    else:
        from vitseg.runtimes.torch_program import TorchProgram

        session = TorchProgram(graph, device)
    if session.written != record.within.model_dump_json():
        raise CheckpointError(
            f"{record_place(graph)} is not what {graph.name} says of itself: one of them was changed, or is another "
            "export's. Export the model again."
        )
    return session


def runs_on(graph: Path, device: torch.device) -> bool:
    """Whether the runtime of an exported file can use a device.

    Raises:
        CheckpointError: A file is missing or has changed, or is not what an export writes.
        ConfigError: The runtime is missing.
    """
    if device.type == "cpu":
        return True
    record = read_export_record(graph)
    if record.format == "onnx":
        from vitseg.runtimes.onnx_runtime import providers_of

        return bool(providers_of(device))
    return record.format != "openvino"


def load_graph(graph: Path, device: torch.device) -> tuple[GraphModel, ExportRecord]:
    """An exported model that gives what the model gave: masks.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: The file gives something else than masks, or its runtime is missing.
    """
    record = read_export_record(graph)
    if record.form != "masks":
        raise ConfigError(
            f"{graph} gives {record.form}, made for other programs. What vitseg runs itself is exported with "
            "--form masks, the default."
        )
    return GraphModel(open_session(graph, record, device), record, graph), record
