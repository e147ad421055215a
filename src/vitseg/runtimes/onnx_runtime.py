"""Graphs run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.errors import CheckpointError, ConfigError, first_line
from vitseg.runtimes.extra import import_extra

RECORD_KEY = "vitseg"
"""Key of the record in the metadata of an ONNX file."""

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
"""What runs a graph on a kind of device, the best first; what it lacks runs on the CPU."""


class OnnxSession:
    """An ONNX file that ONNX Runtime has loaded.

    Args:
        path: The file, whose hash has been compared.
        device: Where it runs.

    Attributes:
        written: The record within the file; None: there is none.

    Raises:
        CheckpointError: It is no ONNX file, is cut off, keeps tensors outside its folder, or needs a newer runtime.
        ConfigError: ONNX Runtime is missing, or cannot use the device.
    """

    def __init__(self, path: Path, device: torch.device):
        runtime = import_extra("onnxruntime", "ONNX Runtime")
        require_own_tensors(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        providers = _providers(runtime, device)
        try:
            self._session = runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its errors have no base of their own
            raise CheckpointError(
                f"{path}: ONNX Runtime {runtime.__version__} cannot load it: {first_line(error)}"
            ) from error
        self.input = self._session.get_inputs()[0].name
        self.written = self._session.get_modelmeta().custom_metadata_map.get(RECORD_KEY)
        self.name = f"ONNX Runtime {runtime.__version__} ({self._session.get_providers()[0]})"

    def run(self, images: Float[Tensor, "b channels H W"]) -> Sequence[np.ndarray]:
        return self._session.run(None, {self.input: images.cpu().contiguous().numpy()})


def providers_of(device: torch.device) -> list[str]:
    """What ONNX Runtime has here to run a graph on a device; empty: nothing.

    Raises:
        ConfigError: ONNX Runtime is missing.
    """
    there = import_extra("onnxruntime", "ONNX Runtime").get_available_providers()
    return [name for name in PROVIDERS.get(device.type, ()) if name in there]


def _providers(runtime: ModuleType, device: torch.device) -> list[str | tuple[str, dict[str, int]]]:
    wanted, there = PROVIDERS.get(device.type, ()), runtime.get_available_providers()
    found = providers_of(device)
    if not found:
        raise ConfigError(
            f"ONNX Runtime here has {', '.join(there)}, none of which runs on {device.type}: give --device cpu"
            + (", or install onnxruntime-gpu in place of onnxruntime." if wanted else ".")
        )
    chosen = {"device_id": device.index or 0}
    with_device = [(name, chosen) if device.type == "cuda" else name for name in found]
    return [*with_device, *(["CPUExecutionProvider"] if device.type != "cpu" else [])]


def require_own_tensors(path: Path) -> None:
    """Raise CheckpointError where an ONNX file cannot be parsed, or names tensors that do not lie beside it.

    A graph may keep its tensors in other files. A name with a folder in it, or a link, could make the runtime read
    any file of the machine.
    """
    onnx = import_extra("onnx", "ONNX")
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise ValueError("it holds no graph")
    except OSError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} is no ONNX file, or is cut off: {first_line(error)}"
        ) from error
    for place in sorted(_external_places(onnx, model)):
        file = path.parent / place
        if Path(place).name != place or place in ("", ".", "..") or file.is_symlink():
            raise CheckpointError(
                f"{path} keeps tensors in {place!r}, which is not a plain file beside it, and is not read: a graph "
                "could name any file of the machine so. Export the model again."
            )
        if not file.is_file():
            raise CheckpointError(
                f"{path} keeps tensors in {place}, which is missing: copy all files."
            )


def _external_places(onnx: ModuleType, model: Any) -> set[str]:
    """The files in which tensors of a model are, those of subgraphs and functions, too."""
    return {
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors within a part of a model, at any depth."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else (value,):
                yield from _tensors(part)
