"""What is asked of a model, and what it gives: everything here crosses the border of a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.config import InferenceConfig
from vitseg.types import Size

WHOLE_PIXELS = 2048 * 2048
"""Pixels of an image that is run in one piece where the model's protocol has no limit; larger ones go in windows."""

ViewName = Literal["stages", "exits", "tasks"]
"""The kinds of explanation that have a picture of one channel; see `vitseg.explain`."""

STAYED = 255
"""What the picture of exits holds where a token stayed to the end."""

OnFailure = Literal["unusable", "unavailable", "late", "gone"]


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Attributes:
        name: By which it is asked for.
        method: A key of METHODS.
        format: "directory", or that of an exported file.
        classes: Names and colours.
        preprocessing: Of its images.
        inference: Its protocol, as the model directory has it.
        image_size: (height, width) of its training images.
        views: What else can be shown of it, see `vitseg.serve.views`.
        hashes: SHA-256 of its files, see `vitseg.runtimes.places.hashes`.
    """

    name: str
    method: str
    format: str
    classes: ClassTable
    preprocessing: Preprocessing
    inference: dict[str, Any]
    image_size: Size
    views: tuple[str, ...] = ()
    hashes: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True)
class Task:
    """An image for a model.

    Attributes:
        model: Its name.
        pixels: RGB, or the bands of the model.
        confidence: Whether the probability of every label is asked for.
        view: What to show instead of labels; None: labels.
        class_index: Of which class, where the view is of one.
        deadline: Seconds of `time.monotonic` after which nobody waits for the result.
        number: Tells it from all others.
    """

    model: str
    pixels: UInt8[np.ndarray, "H W c"]
    confidence: bool = False
    view: str | None = None
    class_index: int | None = None
    deadline: float = float("inf")
    number: int = 0


@dataclass(frozen=True)
class View:
    """A view of one image.

    Attributes:
        view: Which.
        names: Of stages: one per picture. Of exits and tasks: what the values of the picture mean, from 0.
        pictures: At the image's own size. Of stages: the mask that each has of the class, 0 where it speaks against it
            and 255 where it speaks for it. Else a single one: the exit at which the token of each pixel left, STAYED
            where it did not; or the task that claims the pixel.
        class_index: Of stages: the class.
        probability: Of stages: the model's probability that the class is in the image, in [0, 1].
    """

    view: ViewName
    names: tuple[str, ...]
    pictures: tuple[UInt8[np.ndarray, "H W"], ...]
    class_index: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Result:
    """What a model gave.

    Attributes:
        labels: Class of every pixel; None: a view was asked for.
        confidence: Probability of every label, times 255; None: not asked for.
        view: What is shown instead.
        forward: Seconds that the model took, of all images that were run together.
        batch: How many these were.
        windows: (height, width) of the windows that the image was run in because it is too large for one piece.
    """

    labels: Integer[np.ndarray, "H W"] | None
    confidence: UInt8[np.ndarray, "H W"] | None = None
    view: View | None = None
    forward: float = 0.0
    batch: int = 1
    windows: Size | None = None

    @property
    def probability(self) -> Float32[np.ndarray, "H W"]:
        """That of every label, in [0, 1], where it was asked for."""
        assert self.confidence is not None
        return self.confidence / np.float32(255)


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
        kind: "unusable": the image cannot be run; "unavailable": the model failed; "late", "gone": nobody waits.
        message: For the client.
        detail: For the log.
    """

    kind: OnFailure
    message: str
    detail: str = ""


def batch_key(served: Served, size: Size) -> tuple[str, Size] | None:
    """What images have in common that can be run together; None: this one runs alone.

    Args:
        served: Its model.
        size: (height, width) of the image.
    """
    protocol = InferenceConfig.model_validate(served.inference)
    if protocol.mode != "whole" or protocol.flip or protocol.scales != (1.0,):
        return None
    height, width = protocol.input_size(size)
    if height * width > WHOLE_PIXELS // 2:
        return None
    return served.name, (height, width)
