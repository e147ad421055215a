"""What the description of the interface says of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from vitseg.serve.described import ASKING, BINARY, TIMEOUT, Described, errors


class InferenceServer(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server runs."""

    live: bool


class Ready(BaseModel):
    """Whether models can be asked; the protocol calls it `ready` in one place and `live` in another."""

    ready: bool
    live: bool


class ModelReady(BaseModel):
    """Whether a model can be asked."""

    name: str
    ready: bool


class TensorTold(BaseModel):
    """An input or output of a model; a side that may have any length is -1."""

    name: str
    datatype: str
    shape: list[int]


class InferenceModel(BaseModel):
    """A model, as the protocol describes it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorTold]
    outputs: list[TensorTold]


class InferenceOutput(BaseModel):
    """An output."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = Field(
        default=None, description="row after row; left out where it is binary"
    )
    parameters: dict[str, int] | None = Field(
        default=None, description="binary_data_size, where it is binary"
    )


class Inferred(BaseModel):
    """Outputs."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferenceOutput]


_PARAMETERS = {"type": "object", "additionalProperties": True}

_INPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "enum": ["image"]},
        "datatype": {
            "type": "string",
            "enum": ["BYTES", "UINT8"],
            "description": "BYTES: image files (JPEG, PNG, WebP, TIFF, BMP), of shape [n]. UINT8: pixels, red, green "
            "and blue or the bands of the model, of shape [n, H, W, C] or [H, W, C].",
        },
        "shape": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 1,
            "maxItems": 4,
        },
        "data": {
            "type": "array",
            "description": "Values, nested as the shape has it or flat. BYTES are texts in base64.",
            "items": {},
        },
        "parameters": {
            **_PARAMETERS,
            "description": "binary_data_size: bytes of this tensor behind the JSON, instead of data. "
            "content_type: base64.",
        },
    },
}

_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {
            "type": "string",
            "enum": ["label_map", "confidence", "class_areas"],
            "description": "label_map: UINT8, or UINT16 with more than 255 classes, [n, H, W]; the highest value where "
            "the image holds no data. confidence: probability of the labels, FP32, [n, H, W], in steps of 1/255. "
            "class_areas: shares of the pixels with data, FP32, [n, K].",
        },
        "parameters": {
            **_PARAMETERS,
            "description": "binary_data: whether it comes as bytes behind the JSON.",
        },
    },
}

_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "description": "Comes back with the answer."},
        "inputs": {"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1},
        "outputs": {
            "type": "array",
            "items": _OUTPUT,
            "uniqueItems": True,
            "description": "Those that are wanted; all where none is named.",
        },
        "parameters": {
            **_PARAMETERS,
            "description": "timeout: microseconds that the client allows. binary_data_output: whether all outputs come "
            "as bytes behind the JSON. Others are passed over.",
        },
    },
}

INFER_BODY: dict[str, Any] = {
    "parameters": [
        TIMEOUT,
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Bytes of the JSON at the start of the body, where binary tensors lie behind it.",
            "schema": {"type": "integer", "minimum": 0},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "JSON; or JSON with the bytes of the input behind it, see Inference-Header-Content-Length. All "
        "images of a request are of one size.",
        "content": {
            "application/json": {
                "schema": _REQUEST,
                "example": {
                    "id": "1",
                    "inputs": [
                        {
                            "name": "image",
                            "shape": [1],
                            "datatype": "BYTES",
                            "data": ["/9j/4AAQSkZJRg..."],
                        }
                    ],
                    "outputs": [{"name": "label_map", "parameters": {"binary_data": True}}],
                },
            },
            "application/octet-stream": BINARY,
        },
    },
}

INFER_RESPONSES: Described = {
    200: {
        "model": Inferred,
        "description": "The outputs: JSON, or JSON with bytes behind it where outputs are binary.",
        "headers": {
            "Inference-Header-Content-Length": {
                "description": "bytes of the JSON, where outputs lie behind it",
                "schema": {"type": "integer"},
            }
        },
        "content": {
            "application/octet-stream": BINARY,
            "application/json": {
                "example": {
                    "model_name": "camvid",
                    "model_version": "1",
                    "id": "1",
                    "outputs": [
                        {
                            "name": "label_map",
                            "datatype": "UINT8",
                            "shape": [1, 2, 2],
                            "data": [3, 3, 0, 0],
                        }
                    ],
                }
            },
        },
    },
    **errors(*ASKING),
}
