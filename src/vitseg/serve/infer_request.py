"""A request of the Open Inference Protocol, from its bytes to images. Nothing in it is believed before it is looked at.

Numbers in JSON lie in lists, nested or flat. Image files are BYTES: in JSON each is a text in base64 (or an object
`{"b64": text}`), since JSON has no bytes; in binary form each is its length in four bytes, and then itself.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitseg.parsing import UnreadableError
from vitseg.serve.jobs import Served
from vitseg.serve.json_body import parse_body
from vitseg.serve.problems import BadRequestError, TooLargeError
from vitseg.serve.settings import ServeSettings

IMAGE = "image"
OUTPUTS = ("label_map", "confidence", "class_areas")

_WORDS: dict[type, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


@dataclass(frozen=True)
class AskedOutput:
    """An output that is asked for.

    Attributes:
        name: One of OUTPUTS.
        is_binary: Whether it comes as bytes behind the JSON.
    """

    name: str
    is_binary: bool


@dataclass(frozen=True)
class InferRequest:
    """What a request asks.

    Attributes:
        outputs: Outputs in their order.
        files: Image files; empty where pixels came.
        pixels: Images of one size, as the model takes them.
        id: Comes back with the answer.
        seconds: That its client allows; None: it says nothing.
    """

    outputs: tuple[AskedOutput, ...]
    files: tuple[bytes, ...] = ()
    pixels: UInt8[np.ndarray, "n H W c"] | None = None
    id: str | None = None
    seconds: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(output.name for output in self.outputs)


def read_request(
    body: bytes, header_length: str | None, served: Served, settings: ServeSettings
) -> InferRequest:
    """Read the body of a request.

    Args:
        body: All of it.
        header_length: The header Inference-Header-Content-Length: bytes of the JSON, behind which tensors lie.
        served: The model that is asked.
        settings: Limits.

    Raises:
        BadRequestError: It is not as the protocol has it, or asks for what this model has not.
        TooLargeError: It has more pixels than are taken.
    """
    message, behind = _split(body, header_length)
    parameters = _get(message, "parameters", dict, "the request: ") or {}
    (tensor,) = _tensors(message, behind)
    files: tuple[bytes, ...] = ()
    pixels = None
    if tensor.datatype == "BYTES":
        files = _files(tensor, settings.max_batch)
    else:
        pixels = _pixels(tensor, served.preprocessing.num_channels, settings)
    return InferRequest(
        _outputs(message, parameters),
        files,
        pixels,
        _get(message, "id", str, "the request: "),
        _seconds(parameters),
    )


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose name and type are known, and whose values are not read yet."""

    datatype: str
    shape: list[int]
    parameters: Mapping[str, Any]
    data: Any
    content: memoryview | None


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview | None]:
    """The JSON of a request, and the bytes behind it; None where it has no such part."""
    length, behind = len(body), None
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 16):
            raise BadRequestError(
                f"Inference-Header-Content-Length is {header_length[:50]!r}, but it is a number of bytes."
            )
        length = int(header_length)
        if length > len(body):
            raise BadRequestError(
                f"Inference-Header-Content-Length is {length}, but the request has {len(body)} bytes."
            )
        behind = memoryview(body)[length:]
    try:
        message = parse_body(body[:length], "send the tensor as binary data")
    except UnreadableError as error:
        raise BadRequestError(f"the request cannot be read: {error}.") from error
    if not isinstance(message, dict):
        raise BadRequestError(
            f"the request is {_WORDS[type(message)]}, but it is an object with inputs."
        )
    return message, behind


def _tensors(message: dict[str, Any], behind: memoryview | None) -> list[_Tensor]:
    """The one input."""
    inputs = _get(message, "inputs", list, "the request: ")
    if inputs is None or len(inputs) != 1:
        number = "no" if not inputs else str(len(inputs))
        raise BadRequestError(f"the request has {number} inputs, but needs one, named {IMAGE}.")
    given = inputs[0]
    if not isinstance(given, dict):
        raise BadRequestError(f"inputs[0] is {_WORDS[type(given)]}, but it is an object.")
    name = _get(given, "name", str, "inputs[0]: ")
    if name != IMAGE:
        raise BadRequestError(f"there is no input {(name or '')[:100]!r}. The input is {IMAGE}.")
    datatype = _get(given, "datatype", str, "image: ")
    if datatype not in ("BYTES", "UINT8"):
        raise BadRequestError(
            f"image has the datatype {(datatype or '')[:50]!r}. Allowed: BYTES (image files) and UINT8 (pixels)."
        )
    shape = _get(given, "shape", list, "image: ")
    if not shape or len(shape) > 4 or any(type(side) is not int or side < 1 for side in shape):
        raise BadRequestError(
            "image has no usable shape: it is a list of whole numbers above 0, [n] for BYTES and [n, H, W, C] for "
            "UINT8."
        )
    parameters = _get(given, "parameters", dict, "image: ") or {}
    size = _get(parameters, "binary_data_size", int, "image: ")
    if size is not None and (behind is None or size != len(behind)):
        raise BadRequestError(
            f"image has binary_data_size {size}, but {0 if behind is None else len(behind)} bytes lie behind the JSON: "
            "is Inference-Header-Content-Length right?"
        )
    if size is None and behind:
        raise BadRequestError(
            f"{len(behind)} bytes lie behind the JSON, but no input has a binary_data_size."
        )
    if size is not None and given.get("data") is not None:
        raise BadRequestError("image has data and binary_data_size: give one of them.")
    if any(name.startswith("shared_memory") for name in parameters):
        raise BadRequestError("image lies in shared memory, which is not read here: send its data.")
    content = behind if size is not None else None
    return [_Tensor(datatype, shape, parameters, given.get("data"), content)]


def _files(tensor: _Tensor, max_batch: int) -> tuple[bytes, ...]:
    """Image files."""
    if len(tensor.shape) != 1 or tensor.shape[0] > max_batch:
        raise BadRequestError(
            f"image has the shape {_shown(tensor.shape)}. For BYTES it is [n], of at most {max_batch} image files."
        )
    number = tensor.shape[0]
    if tensor.content is not None:
        return _unpacked(tensor.content, number)
    kind = tensor.parameters.get("content_type", "base64")
    if kind != "base64":
        raise BadRequestError("content_type of image can be base64 alone: JSON has no bytes.")
    _require_list(tensor.data, number)
    files = []
    for value in tensor.data:
        if isinstance(value, dict) and value.keys() == {"b64"}:
            value = value["b64"]
        if not isinstance(value, str):
            raise BadRequestError(
                f"image has {_WORDS[type(value)]} in its data, but BYTES are texts in base64."
            )
        try:
            files.append(base64.b64decode(value, validate=True))
        except (ValueError, binascii.Error) as error:
            raise BadRequestError(
                "image has data that are no base64: send the bytes of an image file so, or as binary data."
            ) from error
    return tuple(files)


def _unpacked(content: memoryview, number: int) -> tuple[bytes, ...]:
    """Values of BYTES in binary form."""
    files, at = [], 0
    for _ in range(number):
        length = int.from_bytes(content[at : at + 4], "little")
        if at + 4 + length > len(content) or at + 4 > len(content):
            raise BadRequestError(
                f"image has {len(content)} bytes, which end within one of its {number} values: each has its length "
                "in 4 bytes (little-endian) before it."
            )
        files.append(bytes(content[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(content):
        raise BadRequestError(
            f"image has {len(content)} bytes, of which its {number} values take {at}."
        )
    return tuple(files)


def _pixels(
    tensor: _Tensor, num_channels: int, settings: ServeSettings
) -> UInt8[np.ndarray, "n H W c"]:
    """Pixels, whose number is looked at before anything is made of them."""
    shape = tensor.shape if len(tensor.shape) == 4 else [1, *tensor.shape]
    if len(shape) != 4 or shape[3] != num_channels or shape[0] > settings.max_batch:
        raise BadRequestError(
            f"image has the shape {_shown(tensor.shape)}. For UINT8 it is [n, H, W, {num_channels}] or "
            f"[H, W, {num_channels}], of at most {settings.max_batch} images."
        )
    require_pixels(math.prod(shape[:3]), settings)
    number = math.prod(shape)
    if tensor.content is not None:
        if len(tensor.content) != number:
            raise BadRequestError(
                f"image has {len(tensor.content)} bytes, but its shape {_shown(shape)} has {number}."
            )
        return np.frombuffer(tensor.content, np.uint8).reshape(shape)
    try:
        values = bytes(_flat(tensor.data, tensor.shape))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequestError(
            "image has data that are no whole numbers from 0 to 255, which UINT8 are."
        ) from error
    return np.frombuffer(values, np.uint8).reshape(shape)


def _flat(data: Any, shape: list[int]) -> list[Any]:
    """The values of a tensor, whose lists are nested as its shape has it, or flat."""
    number = math.prod(shape)
    if not isinstance(data, list) or not data or not isinstance(data[0], list):
        _require_list(data, number)
        return data
    _require_list(data, shape[0])
    for side in shape[1:]:
        if any(type(part) is not list or len(part) != side for part in data):
            raise BadRequestError(
                f"image has data that are not nested as its shape {_shown(shape)}."
            )
        data = list(itertools.chain.from_iterable(data))
    return data


def _require_list(data: Any, number: int) -> None:
    if not isinstance(data, list):
        raise BadRequestError(f"image has no data: a list of {number} values is needed.")
    if len(data) != number:
        raise BadRequestError(f"image has {len(data)} values, but its shape has {number}.")


def require_pixels(number: int, settings: ServeSettings) -> None:
    """Raise TooLargeError for more pixels, of all images of a request, than one image may have."""
    if number > settings.max_pixels:
        shown = f"{number:,}" if number < 10**15 else "10^15 and more"
        raise TooLargeError(
            f"the images have {shown} pixels, but at most {settings.max_pixels:,} are taken at a time: scale them "
            "down, or send fewer."
        )


def _outputs(message: dict[str, Any], parameters: dict[str, Any]) -> tuple[AskedOutput, ...]:
    is_binary = _get(parameters, "binary_data_output", bool, "parameters: ") or False
    asked = _get(message, "outputs", list, "the request: ")
    if not asked:
        return tuple(AskedOutput(name, is_binary) for name in OUTPUTS)
    found: dict[str, AskedOutput] = {}
    for number, each in enumerate(asked):
        where = f"outputs[{number}]: "
        if not isinstance(each, dict):
            raise BadRequestError(f"{where}it is {_WORDS[type(each)]}, but an output is an object.")
        name = _get(each, "name", str, where) or ""
        if name not in OUTPUTS:
            raise BadRequestError(
                f"there is no output {name[:100]!r}. The outputs are {', '.join(OUTPUTS)}."
            )
        if name in found:
            raise BadRequestError(f"{name} is asked for twice in outputs.")
        own = _get(each, "parameters", dict, where) or {}
        for word in own:
            if word == "classification" or word.startswith("shared_memory"):
                raise BadRequestError(f"{name}: the parameter {word[:50]} is not known here.")
        binary = _get(own, "binary_data", bool, f"{name}: ")
        found[name] = AskedOutput(name, is_binary if binary is None else binary)
    return tuple(found.values())


def _seconds(parameters: dict[str, Any]) -> float | None:
    """The parameter `timeout`, which is in microseconds; 0: the client does not say."""
    timeout = _get(parameters, "timeout", int, "parameters: ")
    if timeout is not None and timeout < 0:
        raise BadRequestError(f"timeout is {timeout}, but it is a number of microseconds.")
    return timeout / 1e6 if timeout else None


def _get(values: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """A field of an object; None where it is left out or null."""
    value = values.get(name)
    if value is not None and type(value) is not kind:
        raise BadRequestError(f"{where}{name} is {_WORDS[type(value)]}, but it is {_WORDS[kind]}.")
    return value


def _shown(shape: list[int]) -> str:
    return str(shape)[:80]
