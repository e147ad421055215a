"""One call from an image file to its segmentation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args, overload

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitseg.checkpoint.model_dir import ModelRecord, load_model
from vitseg.config import apply_overrides, parse
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.images.bands import to_rgb
from vitseg.images.decoded import MAX_PIXELS, Decoded
from vitseg.images.geometry import resize_image
from vitseg.images.notices import grouped
from vitseg.images.preprocess import Preprocessing, to_tensor
from vitseg.images.value_range import ValueRange, parse_range
from vitseg.inference.config import InferenceConfig
from vitseg.inference.image_source import ImageSource, read_picture
from vitseg.inference.modes import image_scores
from vitseg.inference.precision import Precision, narrowed, precise, warn_of_bf16
from vitseg.inference.scores import ScoreMap, label_map
from vitseg.inference.segmentation import Segmentation
from vitseg.inference.view_image import view_of
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import SegOutput
from vitseg.types import Size

if TYPE_CHECKING:
    from vitseg.runtimes.graph_model import GraphModel

_log = logging.getLogger("vitseg")


class Predictor:
    """A model with all that is needed to run it on photos.

    Args:
        model: The model, in any mode; it is set to evaluation mode at every call. Or an exported graph.
        record: Classes, preprocessing and inference protocol.
        device: Where to run: "cpu", "cuda", "cuda:1", "mps".
        dtype: "bf16" computes products in bfloat16 (`vitseg.inference.precision`), of a copy of the model.
    """

    def __init__(
        self,
        model: SegmentationModel | GraphModel,
        record: ModelRecord,
        device: str | torch.device,
        dtype: Precision = "fp32",
    ):
        self.device = torch.device(device)
        self.dtype: Precision = dtype
        self.model = (model if dtype == "fp32" else narrowed(model)).to(self.device)
        self.record = record
        self.classes = record.classes
        self.preprocessing: Preprocessing = record.preprocessing
        self.inference = parse(InferenceConfig, record.inference, "inference")

    @property
    def network(self) -> SegmentationModel:
        """The model with its parts, for what looks into it.

        Raises:
            ConfigError: It is an exported graph.
        """
        from vitseg.runtimes.graph_model import GraphModel  # most predictions need no runtime

        if isinstance(self.model, GraphModel):
            raise ConfigError(
                f"{self.model.source} is an exported graph, of whose parts nothing is known: give the model directory "
                "that it was made of."
            )
        return self.model

    @overload
    def __call__(self, source: ImageSource) -> Segmentation: ...

    @overload
    def __call__(self, source: Sequence[ImageSource]) -> list[Segmentation]: ...

    def __call__(self, source: object) -> Segmentation | list[Segmentation]:
        """Segment one image, or each of a list.

        Args:
            source: A file, a Pillow image (turned upright by its EXIF orientation), an (H, W, 3) uint8 RGB array of any
                strides, a uint8 tensor of (3, H, W) or (H, W, 3), or a list of these. For a model of other bands an
                array or tensor has a channel for each of them, in their order, and may have their own values.

        Raises:
            DataError: The file is no image that can be read, or the array has another shape or type or is empty.
            VitsegError: The model's scores are NaN or infinite.
        """
        if isinstance(source, list | tuple):
            sources = cast("Sequence[object]", source)
            with grouped():
                return [self._of_list(sources, place) for place in range(len(sources))]
        return self._segment(source)

    def _of_list(self, sources: Sequence[object], place: int) -> Segmentation:
        try:
            return self._segment(sources[place])
        except DataError as error:
            if isinstance(sources[place], str | Path):
                raise  # which names it
            raise DataError(f"number {place + 1} of {len(sources)} images: {error}") from error

    def _segment(self, source: object) -> Segmentation:
        found = self.read(source, placed=True)
        image = found.pixels
        path = Path(source) if isinstance(source, (str, Path)) else None
        try:
            labels = label_map(self.scores(image))
        except VitsegError as error:  # scores that are no numbers
            if path is None:
                raise
            raise VitsegError(f"{path}: {error}") from error
        picture = self.picture_of(image)
        return Segmentation(labels, self.classes, picture, path, found.valid, found.georeference)

    def pixels_of(self, source: object) -> UInt8[np.ndarray, "H W c"]:
        """The pixels of any source as the model sees them: 8-bit RGB, or its bands; notices about them are logged."""
        return self.read(source).pixels

    def read(self, source: object, placed: bool = False) -> Decoded:
        """Any source, its pixels as the model sees them.

        Args:
            source: As for a call.
            placed: Whether of a file it is read, too, where it lies and which of its pixels hold data.
        """
        return read_picture(source, self.preprocessing.reading, placed)

    def picture_of(self, pixels: UInt8[np.ndarray, "H W c"]) -> UInt8[np.ndarray, "H W 3"]:
        """Such pixels as they are shown: RGB; of bands, those that stand for the three colours."""
        return to_rgb(pixels, self.preprocessing.bands)

    @torch.inference_mode()
    def scores(self, image: UInt8[np.ndarray, "H W c"]) -> ScoreMap:
        """Class scores at the image's own size, from which labels are taken strip by strip.

        Args:
            image: (H, W, 3) uint8 RGB, or the bands of the model.
        """
        self.model.eval()
        size = (image.shape[0], image.shape[1])
        images = (
            view_of(
                self._resized(image, self.inference.input_size(size, scale)),
                self.preprocessing,
                self.device,
            )
            for scale in self.inference.scales
        )
        return image_scores(self.run, images, self.inference, size)

    def run(self, images: Float[Tensor, "b channels H W"]) -> SegOutput:
        """The model's output of normalised images, in the numbers of `dtype`.

        Args:
            images: On the predictor's device.
        """
        with precise(self.device, self.dtype):
            return self.model(images)

    def model_input(
        self, image: UInt8[np.ndarray, "H W c"], size: Size
    ) -> Float[Tensor, "1 channels _ _"]:
        """The image as the model takes it, (1, channels, H, W), on the model's device.

        Args:
            image: (H, W, 3) uint8 RGB, or the bands of the model.
            size: Size to run it at.

        Raises:
            DataError: Far more pixels than the image has, and more than one piece may have.
        """
        image = self._resized(image, size)
        return to_tensor(image, self.preprocessing)[None].to(self.device)  # (1, channels, H, W)

    def _resized(self, image: UInt8[np.ndarray, "H W c"], size: Size) -> UInt8[np.ndarray, "_ _ c"]:
        if size[0] * size[1] > max(MAX_PIXELS, image.shape[0] * image.shape[1]):
            raise DataError(
                f"an image of {image.shape[1]}x{image.shape[0]} pixels would be run at {size[1]}x{size[0]}, but at "
                f"most {MAX_PIXELS:,} pixels are. It is too long for the protocol's resize and min_short: cut it into "
                "parts, or change them."
            )
        return resize_image(image, size)


def load(
    path: str | Path,
    device: str = "auto",
    protocol: Sequence[str] = (),
    value_range: Sequence[int | float] | None = None,
    dtype: Precision = "fp32",
) -> Predictor:
    """A predictor from a model directory, the `--out` folder of a training, the hub, or an exported file.

    Args:
        path: The directory, an exported file (.onnx, .xml, .pt2), or `hf://user/name` (`hf://user/name@revision`) for
            one on the Hugging Face hub.
        device: "auto" takes a GPU where there is one, and what runs the model can use it: of an exported file that is
            what its runtime can.
        protocol: Changes of the model's inference protocol, `field=value` each (`flip=true`; fields of
            `InferenceConfig`).
        value_range: (low, high): values that are black and white in images of more than 8 bits. It comes before the
            model's own range, which is logged, and before what files state.
        dtype: "bf16" computes products in bfloat16: with instructions for it 1.5 times as fast, and a label in some
            thousand is another. Exported files have numbers of their own.

    Raises:
        CheckpointError: No model there, a missing or changed file, or the hub cannot be reached.
        ConfigError: No such device or dtype, a wrong field or value of the protocol, or a range that is none.
    """
    from vitseg.runtimes.places import is_exported

    if dtype not in get_args(Precision):
        raise ConfigError(f"dtype {dtype!r}: it is {' or '.join(get_args(Precision))}.")

    limits = None if value_range is None else parse_range(value_range)
    chosen = device_for(path, device)
    if is_exported(path):
        if dtype != "fp32":
            raise ConfigError(
                f"{path} is an exported file, which computes in the numbers that it was written with: leave dtype "
                f"{dtype} out, or export it with --precision."
            )
        from vitseg.runtimes.open_graph import load_graph

        model, told = load_graph(Path(path), chosen)
        record = told.predicting
        # OpenVINO takes what is there
        if told.format == "torch-export" and told.precision == "bf16":
            warn_of_bf16(chosen, "a file of --precision fp32")
    else:
        model, record = load_model(path)
    if limits is not None:
        record = record.model_copy(
            update={"preprocessing": _read_by(record.preprocessing, limits, path)}
        )
    if protocol:
        changed = apply_overrides(dict(record.inference), protocol)
        record = record.model_copy(update={"inference": changed})
    if dtype == "bf16":
        warn_of_bf16(chosen, "--dtype fp32")
    return Predictor(model, record, chosen, dtype)


def _read_by(preprocessing: Preprocessing, limits: ValueRange, model: str | Path) -> Preprocessing:
    """The preprocessing with another value range; that it replaces one is logged."""
    bands = preprocessing.bands
    if bands is not None and any(band.value_range for band in bands.chosen):
        raise ConfigError(
            f"{model} has a value range for each of its bands ({bands.words}), which one range for all cannot replace: "
            "leave --value-range out."
        )
    own = preprocessing.limits
    if own is not None and own != limits:
        _log.warning(
            "%s was trained on values of %s as black to white; as asked for, %s is taken instead.",
            model,
            own.words(),
            limits.words(),
        )
    return preprocessing.model_copy(update={"value_range": tuple(limits)})


def device_for(model: str | Path, name: str) -> torch.device:
    """The device for a model: that of a name, or for "auto" the best one that what runs the model can use.

    Args:
        model: A model directory, an address on the hub, or an exported file, whose runtime may know fewer devices.
        name: As for `load`.

    Raises:
        ConfigError: The device does not exist here, or the runtime of the file is missing.
        CheckpointError: The record of the file is missing or was changed.
    """
    from vitseg.runtimes.places import is_exported

    chosen = choose_device(name)
    if name != "auto" or not is_exported(model) or Path(model).is_dir():
        return chosen
    from vitseg.runtimes.open_graph import runs_on

    if runs_on(Path(model), chosen):
        return chosen
    _log.warning("%s runs on the CPU: its runtime here cannot use %s", model, chosen.type)
    return torch.device("cpu")


def choose_device(name: str) -> torch.device:
    """A device by name; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: The device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}). Allowed: auto, cpu, cuda, cuda:N, mps."
        ) from error
    return device
