"""Photos that an export is compared, calibrated and timed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt8
from torch import Tensor

from vitseg.config import parse
from vitseg.export.trace import example_of
from vitseg.images.geometry import resize_image, resize_labels
from vitseg.images.preprocess import to_tensor
from vitseg.inference.config import InferenceConfig
from vitseg.runtimes.record import ExportRecord
from vitseg.types import Size

TIMED = 2
"""Photos that a file is timed on: some models do more on one than on another."""


class LabelledPhoto(NamedTuple):
    """A photo to compare on.

    Attributes:
        pixels: RGB, or the bands of the model.
        labels: True classes, or IGNORE_INDEX; None: not known.
    """

    pixels: UInt8[np.ndarray, "H W c"]
    labels: Integer[np.ndarray, "H W"] | None = None


class Photos(Protocol):
    """Photos that are read when they are asked for, more than once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> LabelledPhoto: ...


def in_turn(photos: Photos) -> Iterator[LabelledPhoto]:
    """All photos, one after the other."""
    return (photos[index] for index in range(len(photos)))


def graph_inputs(record: ExportRecord, photos: Photos) -> Iterator[Float32[np.ndarray, "1 c _ _"]]:
    """Photos as the graph takes them, at the size that the protocol runs them at."""
    for pixels, _ in in_turn(photos):
        own = pixels.shape[0], pixels.shape[1]
        size = own if record.resizes and record.size is None else _run_size(record, own)
        image = to_tensor(resize_image(pixels, size), record.preprocessing)
        yield image[None].contiguous().numpy()


def _run_size(record: ExportRecord, size: Size) -> Size:
    """The size at which the model runs an image of a size, or a window of it."""
    protocol = parse(InferenceConfig, record.model.inference, "inference")
    if record.size is not None:
        return record.size
    height, width = protocol.input_size(size)
    if protocol.crop_size is None:
        return height, width
    return min(height, protocol.crop_size[0]), min(width, protocol.crop_size[1])


def timed_images(record: ExportRecord, photos: Photos) -> list[Float[Tensor, "1 channels H W"]]:
    """Some photos at the size that they are run at, of one size; without photos a made one."""
    few = [photos[index] for index in range(min(len(photos), TIMED))]
    if not few:
        size = record.size or record.model.image_size
        return [example_of(record.model.preprocessing.num_channels, size, 1)]
    size = _run_size(record, (few[0].pixels.shape[0], few[0].pixels.shape[1]))
    return [as_images(resize_image(pixels, size)) for pixels, _ in few]


def of_size(photos: Iterable[LabelledPhoto], size: Size) -> Iterator[LabelledPhoto]:
    """Photos brought to the only size that a file takes."""
    for pixels, labels in photos:
        own = None if labels is None else resize_labels(labels, size)
        yield LabelledPhoto(resize_image(pixels, size), own)


def as_images(pixels: UInt8[np.ndarray, "H W c"]) -> Float[Tensor, "1 c H W"]:
    """A photo as a batch of one, its values in [0, 255]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
