"""An answer of the Open Inference Protocol: outputs as JSON, or as bytes behind it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitseg.classes import ClassTable
from vitseg.render.palette import label_dtype
from vitseg.serve.answers import Encoded
from vitseg.serve.infer_described import TensorTold
from vitseg.serve.infer_request import AskedOutput, InferRequest
from vitseg.serve.json_body import MAX_VALUES
from vitseg.serve.problems import BadRequestError
from vitseg.serve.service import Computed
from vitseg.types import Size

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"


def output_tensors(classes: ClassTable) -> list[TensorTold]:
    """Name, type and shape of every output of a model.

    Args:
        classes: Of the model.
    """
    return [
        TensorTold(name="label_map", datatype=label_type(classes), shape=[-1, -1, -1]),
        TensorTold(name="confidence", datatype="FP32", shape=[-1, -1, -1]),
        TensorTold(name="class_areas", datatype="FP32", shape=[-1, classes.num_classes]),
    ]


def label_type(classes: ClassTable) -> str:
    """The type of labels."""
    return label_dtype(classes.num_classes).name.upper()


def require_short(request: InferRequest, number: int, size: Size) -> None:
    """Refuse outputs that would be too long as JSON; called before a model is run for them.

    Args:
        request: What is asked.
        number: Of images.
        size: (height, width) of these.

    Raises:
        BadRequestError: They would be.
    """
    maps = [each for each in request.outputs if not each.is_binary and each.name != "class_areas"]
    values = len(maps) * number * size[0] * size[1]
    if values > MAX_VALUES:
        raise BadRequestError(
            f"{' and '.join(each.name for each in maps)} would have {values:,} values, but at most {MAX_VALUES:,} are "
            "sent as JSON: ask for binary data (binary_data_output)."
        )


def encode_outputs(request: InferRequest, found: Sequence[Computed]) -> Encoded:
    """The answer to a request.

    Args:
        request: What is asked.
        found: What the model gave for each image, all of one size.
    """
    served = found[0].served
    message: dict[str, Any] = {"model_name": served.name, "model_version": VERSION}
    if request.id is not None:
        message["id"] = request.id
    message["outputs"] = outputs = []
    behind: list[memoryview] = []
    for output in request.outputs:
        values = _values(output, found)
        about: dict[str, Any] = {"name": output.name, "shape": list(values.shape)}
        about["datatype"] = "FP32" if values.dtype.kind == "f" else label_type(served.classes)
        if output.is_binary:
            about["parameters"] = {"binary_data_size": values.nbytes}
            behind.append(memoryview(values.data).cast("B"))
        else:
            about["data"] = values.reshape(-1).tolist()
        outputs.append(about)
    text = json.dumps(message).encode()
    if not behind:
        return Encoded(text, "application/json")
    content = b"".join([text, *behind])
    return Encoded(content, "application/octet-stream", {HEADER_LENGTH: str(len(text))})


def _values(output: AskedOutput, found: Sequence[Computed]) -> np.ndarray:
    """An output of all images, in one piece of memory and little-endian, as the protocol has it."""
    if output.name == "label_map":
        values = np.stack([each.labels for each in found])
        kind = label_dtype(found[0].served.classes.num_classes)
    elif output.name == "confidence":
        values = np.stack([each.result.probability for each in found])
        kind = np.float32
    else:
        counts = np.stack([each.class_counts() for each in found])
        values, kind = counts / counts.sum(1, keepdims=True).clip(1), np.float32
    values = np.ascontiguousarray(values, kind)
    return values if sys.byteorder == "little" else values.byteswap()
