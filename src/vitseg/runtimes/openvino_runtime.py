"""Graphs run by OpenVINO, on CPUs and on Intel's GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.errors import CheckpointError, ConfigError, first_line
from vitseg.runtimes.extra import import_extra
from vitseg.runtimes.record import Precision

RECORD_KEY = "vitseg"
"""Key of the record in a graph's runtime information."""


class OpenVinoSession:
    """An OpenVINO graph, compiled for the CPU.

    Args:
        path: The .xml file; its .bin lies beside it. The hashes of both have been compared.
        device: Must be the CPU.
        precision: Of the record: with bf16 the products are computed in bfloat16, where the processor has it; with
            int8-static what is not in int8 is.

    Attributes:
        written: The record within the file; None: there is none.

    Raises:
        CheckpointError: The files are no graph, or are cut off.
        ConfigError: OpenVINO is missing, or another device is asked for.
    """

    def __init__(self, path: Path, device: torch.device, precision: Precision):
        if device.type != "cpu":
            raise ConfigError(
                f"OpenVINO graphs run on the CPU here, not on {device}: give --device cpu."
            )
        openvino = import_extra("openvino", "OpenVINO")
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # all that torch may use
            "PERFORMANCE_HINT": "LATENCY",
        }
        # Unasked, OpenVINO computes what is not in int8 in bf16 where the processor has it.
        if precision != "int8-static":
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
        try:
            model = openvino.Core().read_model(path)
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:
            raise CheckpointError(
                f"{path}: OpenVINO {openvino.__version__} cannot load it: {first_line(error)}"
            ) from error
        written = [RECORD_KEY]
        self.written = (
            model.get_rt_info(written).astype(str) if model.has_rt_info(written) else None
        )
        self.name = f"OpenVINO {openvino.__version__} (CPU)"

    def run(self, images: Float[Tensor, "b channels H W"]) -> Sequence[np.ndarray]:
        found = self._compiled(images.cpu().contiguous().numpy())
        return [found[output] for output in self._compiled.outputs]
