"""Graphs as ONNX files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from vitseg.errors import ConfigError, first_line
from vitseg.export.onnx_operations import translations
from vitseg.export.precision import Batches, reduce_onnx
from vitseg.export.trace import quiet
from vitseg.files import system_errors
from vitseg.runtimes.extra import import_extra
from vitseg.runtimes.onnx_runtime import RECORD_KEY
from vitseg.runtimes.record import ExportRecord

OPSET = 20
"""Operator set: attention is written out, which runs everywhere; the fused one of 23 is no faster on CPUs."""

AXES = ("batch", None, "height", "width")
"""Names of the input's axes that may be of any length."""


def write_onnx(
    program: ExportedProgram, record: ExportRecord, path: Path, batches: Batches
) -> None:
    """Write a graph as an ONNX file with its record and the keys of QGIS's Deepness within.

    Args:
        program: The graph.
        record: What it is.
        path: The file.
        batches: For int8-static: what ranges are measured on.

    Raises:
        ConfigError: A package of the extra is missing, or an operation has no form in ONNX.
        OSError: It cannot be written.
    """
    onnx = import_extra("onnx", "ONNX")
    try:
        # no gradients, as when it was traced: attention with a learned bias is laid out in another way for them
        with quiet(), torch.no_grad():
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(record.inputs),
                output_names=list(record.outputs),
                custom_translation_table=translations(),
                optimize=True,
                verbose=False,
            )
    except Exception as error:
        raise ConfigError(
            f"ONNX has no form of this model: {first_line(_first_cause(error))}"
        ) from error
    assert written is not None
    model = written.model
    _name_axes(model.graph)
    model.metadata_props.update(metadata(record))
    model.producer_name, model.producer_version = "vitseg", record.versions.get("vitseg", "")
    with system_errors(path), quiet():
        written.save(path)
    reduce_onnx(path, record, batches)
    with quiet():
        onnx.checker.check_model(path)


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong; the exporter's own error only says in which step."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def metadata(record: ExportRecord) -> dict[str, str]:
    """What other programs read of an ONNX file: the record, and the keys of Deepness (values are JSON)."""
    names = record.model.classes.names
    pixels = record.preprocessing
    facts: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(index): name for index, name in enumerate(names)},
        "standardization_mean": list(pixels.mean),
        "standardization_std": list(pixels.std),
        "tiles_overlap": 15,
        "seg_thresh": 0.5,
        "seg_small_segment": 11,
    }
    if record.size is not None:  # the program reads the one, its documents have the other
        facts |= {"tile_size": record.size[0], "tiles_size": record.size[0]}
    found = {name: json.dumps(value) for name, value in facts.items()}
    return {**found, RECORD_KEY: record.within.model_dump_json()}


def _name_axes(graph: Any) -> None:
    """Give the axes of any length their names in the place of the tracer's symbols."""
    (images,) = graph.inputs
    names = {
        length.value: name
        for length, name in zip(images.shape, AXES, strict=True)
        if name is not None and not isinstance(length, int)
    }
    for value in _values(graph):
        for axis, length in enumerate(value.shape or ()):
            # an axis without a name may be of any length: two of them need not be alike
            if not isinstance(length, int) and length.value is not None:
                value.shape[axis] = _renamed(length.value, names)


def _renamed(expression: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\w+", lambda found: names.get(found[0], found[0]), expression)


def _values(graph: Any) -> Iterable[Any]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs
