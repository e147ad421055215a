"""Smaller and faster numbers in a written graph: fp16 weights, int8 with and without calibration images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from vitseg.errors import ConfigError, first_line
from vitseg.export.trace import quiet
from vitseg.files import system_errors
from vitseg.runtimes.extra import import_extra
from vitseg.runtimes.record import ExportRecord, Format, Precision

Batches = Iterable[Float32[np.ndarray, "b channels H W"]]
"""What goes into a graph, some images at a time; can be gone through more than once."""

CALIBRATION_IMAGES = 100
"""Images that ranges of activations are measured on, at most."""

SMALLEST = 1024
"""Elements of a tensor that is worth storing in fewer bits."""

HELD: dict[Format, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8-dynamic", "int8-static"),
    "openvino": ("fp32", "bf16", "fp16", "int8-static"),
    "torch-export": ("fp32", "bf16"),
}
"""Numbers that a format's files can compute with here."""


def require_held(format: Format, precision: Precision, has_photos: bool) -> None:
    """Raise ConfigError where a format has no such numbers, or they need images that were not given."""
    if precision not in HELD[format]:
        others = [name for name, held in HELD.items() if precision in held]
        raise ConfigError(
            f"--precision {precision} is not of {format}, which has {', '.join(HELD[format])}: "
            f"take --format {' or '.join(others)}."
        )
    if precision == "int8-static" and not has_photos:
        raise ConfigError(
            "--precision int8-static measures the range of every activation on images: give --data NAME:ROOT."
        )


def reduce_onnx(path: Path, record: ExportRecord, batches: Batches) -> None:
    """Rewrite an ONNX file in the numbers of its record.

    Args:
        path: The file, in float32.
        record: Says which numbers.
        batches: For int8-static: what ranges are measured on.

    Raises:
        ConfigError: The quantiser does not take this graph.
    """
    change = {
        "fp16": _halve,
        "int8-dynamic": _quantize_dynamic,
        "int8-static": _quantize_static,
    }.get(record.precision)
    if change is None:
        return
    onnx = import_extra("onnx", "ONNX")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".int8-") as folder:
        fresh = Path(folder) / path.name
        try:
            with quiet():
                change(path, fresh, record, batches)
        except Exception as error:
            raise ConfigError(
                f"this graph has no form in {record.precision}: {first_line(error)}"
            ) from error
        content = onnx.load(fresh)
        kept = {entry.key for entry in content.metadata_props}
        for entry in onnx.load(path, load_external_data=False).metadata_props:
            if entry.key not in kept:  # the quantiser drops them
                content.metadata_props.add(key=entry.key, value=entry.value)
        with system_errors(path):
            onnx.save(content, path)


def _halve(path: Path, fresh: Path, record: ExportRecord, batches: Batches) -> None:
    """Weights in fp16, which become float32 again when the file is loaded: half the file, nearly the same labels."""
    del record, batches
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, fresh)


def _quantize_dynamic(path: Path, fresh: Path, record: ExportRecord, batches: Batches) -> None:
    """Linear layers in int8, whose inputs are measured anew in every call."""
    del record, batches
    quantization = import_extra("onnxruntime.quantization", "ONNX Runtime")
    quantization.quantize_dynamic(
        path,
        fresh,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=_no_matrices(path),
        extra_options={"MatMulConstBOnly": True},
    )


def _quantize_static(path: Path, fresh: Path, record: ExportRecord, batches: Batches) -> None:
    """Linear layers in int8, by ranges measured on images."""
    quantization = import_extra("onnxruntime.quantization", "ONNX Runtime")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.images = islice(iter(batches), CALIBRATION_IMAGES)

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.images, None)
            return None if images is None else {record.inputs[0]: images}

    quantization.quantize_static(
        path,
        fresh,
        Reader(),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=_no_matrices(path),
        extra_options={"MatMulConstBOnly": True},
    )


def _no_matrices(path: Path) -> list[str]:
    """Products with constants of more than two axes (queries that are the same for all images), by name.

    ONNX Runtime has ranges by column of matrices alone.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [node.name for node in graph.node if stacks.intersection(node.input)]


def quantize_openvino(model: Any, batches: Batches) -> Any:
    """An OpenVINO graph in int8, by ranges measured on images.

    Args:
        model: The graph.
        batches: What they are measured on.

    Raises:
        ConfigError: NNCF is missing, or does not take this graph.
    """
    nncf = import_extra("nncf", "NNCF", "quantize")
    try:
        with quiet():
            return nncf.quantize(
                model,
                nncf.Dataset(list(islice(iter(batches), CALIBRATION_IMAGES))),
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=CALIBRATION_IMAGES,
            )
    except Exception as error:
        raise ConfigError(f"NNCF cannot quantise this graph: {first_line(error)}") from error


class Repeated:
    """Batches that a function makes anew each time they are gone through."""

    def __init__(self, make: Callable[[], Iterator[Float32[np.ndarray, "b channels H W"]]]):
        self._make = make

    def __iter__(self) -> Iterator[Float32[np.ndarray, "b channels H W"]]:
        return self._make()
