"""Graphs as OpenVINO files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from vitseg.errors import ConfigError, first_line
from vitseg.export.onnx_file import write_onnx
from vitseg.export.precision import Batches, quantize_openvino
from vitseg.runtimes.extra import import_extra
from vitseg.runtimes.openvino_runtime import RECORD_KEY
from vitseg.runtimes.record import ExportRecord

SORTS = (torch.ops.aten.sort.stable, torch.ops.aten.argsort.stable)


def write_openvino(
    program: ExportedProgram, record: ExportRecord, path: Path, batches: Batches
) -> None:
    """Write a graph as an .xml file with a .bin file beside it, by way of ONNX, whose sizes stay free.

    Args:
        program: The graph.
        record: What it is.
        path: The .xml file.
        batches: For int8-static: what ranges are measured on.

    Raises:
        ConfigError: A package of the extra is missing, or an operation has no form there.
        OSError: It cannot be written.
    """
    openvino = import_extra("openvino", "OpenVINO")
    _require_no_sort(program)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".onnx-") as folder:
        way = Path(folder) / "graph.onnx"
        plain = record.model_copy(update={"precision": "fp32"})
        write_onnx(program, plain, way, batches)
        try:
            model = openvino.convert_model(way)
        except Exception as error:
            raise ConfigError(f"OpenVINO has no form of this model: {first_line(error)}") from error
        if record.precision == "int8-static":
            model = quantize_openvino(model, batches)
        model.set_rt_info(record.within.model_dump_json(), [RECORD_KEY])
        try:
            openvino.save_model(model, path, compress_to_fp16=record.precision == "fp16")
        except RuntimeError as error:  # of a full disk it says no more
            raise OSError(None, first_line(error), str(path)) from error


def _require_no_sort(program: ExportedProgram) -> None:
    """Raise ConfigError where equal values are put in order: OpenVINO's sort does not keep theirs."""
    for part in program.graph_module.modules():
        nodes = part.graph.nodes if isinstance(part, GraphModule) else ()
        if any(node.target in SORTS for node in nodes):
            raise ConfigError(
                "OpenVINO orders equal values anyhow, and this model drops tokens by their order (pruning): others "
                "would leave. Take --format onnx, or keep all tokens by --unpruned."
            )
