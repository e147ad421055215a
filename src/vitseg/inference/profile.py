"""Parameters, multiply-adds, memory and speed of a model on this device."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from vitseg.errors import ConfigError
from vitseg.images.geometry import resize_image
from vitseg.images.preprocess import Preprocessing, to_tensor
from vitseg.images.reader import decode
from vitseg.images.window import Window
from vitseg.inference.operations import Part, count_operations, peak_memory
from vitseg.inference.precision import Precision, precise
from vitseg.inference.scores import OutputScores, label_map
from vitseg.inference.window_scores import Model
from vitseg.methods.model import SegmentationModel
from vitseg.runtimes.graph_model import GraphModel
from vitseg.types import Size, spatial_size

PARTS: tuple[Part, ...] = ("backbone", "decoder")
WARMUPS = 3
LEAST_RUNS = 20

OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator")
"""In the errors of CUDA and MPS, and of the CPU, which has no class of its own for them."""


@dataclass(frozen=True)
class Speed:
    """Times of one batch size, from normalised images on the device to label maps in the computer's memory.

    Attributes:
        batch_size: Images per run.
        seconds: Duration of every run.
        peak_memory: Bytes at the peak above weights and images, the most of several runs; see `peak_memory`;
            None: an exported graph, whose runtime does not tell.
    """

    batch_size: int
    seconds: tuple[float, ...]
    peak_memory: int | None

    @property
    def images_per_second(self) -> float:
        return self.batch_size * len(self.seconds) / sum(self.seconds)

    def latency_ms(self, share: float) -> float:
        """Milliseconds within which this share of the runs, in [0, 1], was done."""
        return 1000 * float(np.quantile(self.seconds, share))


@dataclass(frozen=True)
class Profile:
    """What a model costs; of an exported graph nothing is counted, and what is counted is None.

    Attributes:
        parameters: Parameters that a prediction uses.
        stored_parameters: These and those that only training uses, as auxiliary heads or dropped tokens.
        macs: Multiply-adds of one image by operator, of the backbone and of the decoder; a mean where several images
            were given.
        speeds: One entry per batch size, the smallest first.
    """

    parameters: int | None
    stored_parameters: int | None
    macs: dict[Part, dict[str, float]] | None
    speeds: tuple[Speed, ...]

    def total_macs(self, *parts: Part) -> float | None:
        """Multiply-adds of some parts together."""
        if self.macs is None:
            return None
        return sum(sum(self.macs[part].values()) for part in parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values: parameters in millions, multiply-adds in 10^9, memory in MB (10^6 bytes).

        `latency_ms` is of one image at a time; `images_per_second` and `peak_memory_mb` are of the largest batch.
        """
        single, largest = self.speeds[0], self.speeds[-1]
        return {
            "params_m": _over(self.parameters, 1e6),
            "params_training_m": _over(self.stored_parameters, 1e6),
            "gmacs": _over(self.total_macs(*PARTS), 1e9),
            "gmacs_backbone": _over(self.total_macs("backbone"), 1e9),
            "gmacs_decoder": _over(self.total_macs("decoder"), 1e9),
            "latency_ms": _latency(single),
            "images_per_second": largest.images_per_second,
            "peak_memory_mb": _over(largest.peak_memory, 1e6),
            "operators": self.macs
            and {
                part: {name: count / 1e9 for name, count in self.macs[part].items()}
                for part in PARTS
            },
            "batches": [
                {
                    "batch": speed.batch_size,
                    "latency_ms": _latency(speed),
                    "images_per_second": speed.images_per_second,
                    "peak_memory_mb": _over(speed.peak_memory, 1e6),
                    "runs": len(speed.seconds),
                }
                for speed in self.speeds
            ],
        }


def _over(count: int | float | None, unit: float) -> float | None:
    return None if count is None else count / unit


def _latency(speed: Speed) -> dict[str, float]:
    return {"p50": speed.latency_ms(0.5), "p95": speed.latency_ms(0.95)}


def profile_model(
    model: SegmentationModel,
    images: Sequence[Float[Tensor, "1 channels _ _"]],
    device: torch.device,
    batch_size: int = 1,
    precision: Precision = "fp32",
    compiled: bool = False,
    num_runs: int | None = None,
) -> Profile:
    """Count and time a model that is run on whole images, up to their label maps.

    Args:
        model: The model; moved to the device and set to evaluation mode.
        images: Normalised images, each (1, channels, H, W), all of one size. Of a model whose work depends on what is
            in the image, give photos: operations are averaged over all of them, and the runs take them in turn.
        device: Where to run.
        batch_size: Measured beside batches of one image.
        precision: bf16 is torch's autocast of the model, as in mixed-precision training; labels are taken from float32
            scores in any case.
        compiled: Whether the timed model goes through `torch.compile`, for these sizes only where there is one image.
            Operations, and memory on other devices than CUDA, are those of the model as it is.
        num_runs: Timed runs of each batch size; where not given 20, or as many as take every image. Three runs before
            them do not count; of a compiled model, enough to take every image.

    Raises:
        ConfigError: A batch that does not fit the memory, or torch.compile finds no compiler.
        DataError: An image of `PhotoInputs` cannot be read.
    """
    model = model.to(device).eval()
    # Photos may give a model tensors of other sizes each: code for one size would be compiled again and again.
    dynamic = None if len(images) > 1 else False
    runner: Model = torch.compile(model, dynamic=dynamic) if compiled else model
    sizes = sorted({1, batch_size})
    with _clear_errors(device, batch_size, spatial_size(images[0])):
        operations = count_operations(model, lambda: _label_all(model, images, device))
        # One context for all runs: within it torch keeps the weights that it has cast.
        context = precise(device, precision)
        with torch.no_grad(), context:
            speeds = tuple(_measure(runner, model, images, device, n, num_runs) for n in sizes)
    stored = sum(parameter.numel() for parameter in model.parameters())
    macs: dict[Part, dict[str, float]] = {
        part: {name: count / len(images) for name, count in operations.macs[part].items()}
        for part in PARTS
    }
    return Profile(operations.used_parameters, stored, macs, speeds)


def profile_graph(
    graph: GraphModel,
    images: Sequence[Float[Tensor, "1 channels _ _"]],
    device: torch.device,
    batch_size: int = 1,
    num_runs: int | None = None,
) -> Profile:
    """Time an exported graph of form masks on whole images, up to their label maps.

    Args:
        graph: The graph.
        images: As it takes them, see `profile_model`.
        device: Where it runs.
        batch_size: Measured beside batches of one image.
        num_runs: See `profile_model`.

    Raises:
        ConfigError: It takes images of another size.
        VitsegError: Its runtime fails, as where the memory is too small.
    """
    sizes = sorted({1, batch_size})
    with torch.inference_mode():
        speeds = tuple(_measure(graph, None, images, device, n, num_runs) for n in sizes)
    return Profile(None, None, None, speeds)


def label_batch(
    model: Model, batch: Float[Tensor, "b channels H W"]
) -> list[Integer[np.ndarray, "H W"]]:
    """The label map of every image, as a predictor takes it: what is timed here.

    Args:
        model: Images to output.
        batch: As it takes them.
    """
    output = model(batch)
    with torch.autocast(batch.device.type, enabled=False):  # mixing in bf16 would change labels
        return [label_map(OutputScores(output, index)) for index in range(len(batch))]


def _label_all(model: Model, images: Sequence[Tensor], device: torch.device) -> None:
    for image in images:
        label_batch(model, image.to(device))


def _measure(
    runner: Model,
    model: SegmentationModel | None,
    images: Sequence[Float[Tensor, "1 channels _ _"]],
    device: torch.device,
    batch_size: int,
    num_runs: int | None,
) -> Speed:
    one_round = math.ceil(len(images) / batch_size)  # batches that hold every image
    num_runs = num_runs or max(LEAST_RUNS, one_round)
    num_warmups = WARMUPS if model is None or runner is model else max(WARMUPS, one_round)
    batches = _batches(images, batch_size, device)
    for batch in islice(batches, num_warmups):
        label_batch(runner, batch)
    seconds = tuple(_seconds(runner, batch) for batch in islice(batches, num_runs))
    if model is None:
        return Speed(batch_size, seconds, None)
    followed = runner if device.type == "cuda" else model
    if followed is not runner:
        label_batch(
            followed, next(batches)
        )  # autocast casts and keeps its weights, which do not count
    peaks = [
        peak_memory(partial(label_batch, followed, batch), device)
        for batch in islice(batches, min(num_runs, one_round))
    ]
    return Speed(batch_size, seconds, max(peaks))


@contextmanager
def _clear_errors(device: torch.device, batch_size: int, size: Size) -> Generator[None, None, None]:
    try:
        yield
    except TorchDynamoException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"torch.compile cannot be used here ({reason}): leave --compile out."
        ) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise ConfigError(
            f"batch {batch_size} of {size[0]}x{size[1]} does not fit the memory of {device}: take a smaller --batch or "
            "--size."
        ) from error


def _batches(images: Sequence[Tensor], batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Without end: every batch starts where the one before stopped, and the first image follows the last."""
    position = 0
    while True:
        chosen = [images[(position + offset) % len(images)] for offset in range(batch_size)]
        position += batch_size
        yield torch.cat(chosen).to(device)


def _seconds(model: Model, batch: Tensor) -> float:
    start = time.perf_counter()
    label_batch(
        model, batch
    )  # ends with labels in the computer's memory: nothing is left to wait for
    return time.perf_counter() - start


class PhotoInputs(Sequence[Tensor]):
    """Photos as inputs of one size, each read when it is asked for.

    A photo is scaled, keeping its ratio, until it covers the size, and its middle is taken.

    Args:
        paths: Image files.
        size: (height, width) in pixels.
        preprocessing: Normalisation of the model.
    """

    def __init__(self, paths: Sequence[Path], size: Size, preprocessing: Preprocessing):
        self.paths = paths
        self.size = size
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        image = decode(self.paths[index], declared=self.preprocessing.reading).pixels
        height, width = self.size
        scale = max(height / image.shape[0], width / image.shape[1])
        covering = (
            max(height, round(image.shape[0] * scale)),
            max(width, round(image.shape[1] * scale)),
        )
        top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
        middle = resize_image(image, covering, Window(top, left, height, width))
        return to_tensor(middle, self.preprocessing)[None]  # (1, channels, H, W)
