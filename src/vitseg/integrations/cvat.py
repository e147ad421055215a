"""A model as an auto-annotation function of CVAT.

    cvat-cli task auto-annotate ID --function-module vitseg.integrations.cvat -p model=str:runs/streets

Labels of the task are found by the names of classes; `--allow-unmatched-labels` where the task lacks some.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image

from vitseg.errors import ConfigError
from vitseg.images.outlines import Piece, largest_first, outline
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import label_map, labels_and_confidence
from vitseg.runtimes.extra import import_extra

BY = ("class", "piece")


class DetectionFunction:
    """What CVAT's driver calls with every image.

    Args:
        predictor: The model.
        by: "class": a mask for all pixels of a class; "piece": one for each part that hangs together by its sides.
        min_pixels: Masks of fewer pixels are left out.

    Raises:
        ConfigError: CVAT's package is not installed, or `by` is something else.
    """

    def __init__(self, predictor: Predictor, by: str = "class", min_pixels: int = 1):
        if by not in BY:
            raise ConfigError(f"by is {by!r}, but masks are made by {' or '.join(BY)}.")
        self._predictor = predictor
        self._by = by
        self._min_pixels = min_pixels
        self._interface: Any = _import("cvat_sdk.auto_annotation")
        self._masks: Any = _import("cvat_sdk.masks")

    @cached_property
    def spec(self) -> Any:  # CVAT's package states no types
        """The labels, as CVAT's `DetectionFunctionSpec`: the classes of the model."""
        return self._interface.DetectionFunctionSpec(
            labels=[
                self._interface.label_spec(name, index, type="mask")
                for index, name in enumerate(self._predictor.classes.names)
            ]
        )

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """The masks of an image as CVAT's `LabeledShapeRequest`, or polygons where CVAT asks for these.

        A mask is left out where the mean probability of its pixels is below the confidence threshold. Polygons are made
        by piece, since they have one outline; it runs along the borders of pixels and is that of the outside. What a
        piece encloses is a polygon of its own, which comes later and lies over it (`z_order`).

        Args:
            context: What CVAT asks for: its `DetectionFunctionContext`.
            image: The image.

        Raises:
            DataError: It cannot be run.
        """
        scores = self._predictor.scores(self._predictor.pixels_of(image))
        least, confidence = context.conf_threshold or 0.0, None
        if least > 0:
            labels, confidence = labels_and_confidence(scores)
        else:  # probabilities of all pixels take as long as labels, and nobody needs them
            labels = label_map(scores)
        shapes: list[Any] = []
        by_piece = self._by == "piece" or context.conv_mask_to_poly
        for piece in largest_first(labels) if by_piece else whole_classes(labels):
            if np.count_nonzero(piece.inside) < self._min_pixels:
                continue
            if confidence is not None and mean_inside(confidence, piece) < least:
                continue
            if context.conv_mask_to_poly:
                points = outline(piece).astype(float).ravel().tolist()
                shapes.append(self._interface.polygon(piece.index, points, z_order=len(shapes)))
            else:
                shapes.append(self._interface.mask(piece.index, self._encoded(piece)))
        return shapes

    def _encoded(self, piece: Piece) -> list[float]:
        """A mask in CVAT's spelling: run lengths within its box, and the box in the image."""
        height, width = piece.inside.shape
        *runs, _, _, _, _ = self._masks.encode_mask(piece.inside, [0, 0, width, height])
        left, top = piece.left, piece.top
        return [*runs, left, top, left + width - 1, top + height - 1]


def create(
    model: str,
    device: str = "auto",
    by: str = "class",
    min_pixels: int = 1,
) -> DetectionFunction:
    """The function for `--function-module`; parameters are given as `-p NAME=TYPE:VALUE`.

    Args:
        model: A model directory, the `--out` folder of a training, an exported file, or `hf://user/name`.
        device: auto, cpu, cuda, cuda:N or mps.
        by: See `DetectionFunction`.
        min_pixels: See `DetectionFunction`.

    Raises:
        CheckpointError: No model there.
        ConfigError: CVAT's package is not installed, or a parameter is wrong.
    """
    _import("cvat_sdk.auto_annotation")  # before the model is loaded
    return DetectionFunction(load(model, device), by, min_pixels)


def whole_classes(labels: Integer[np.ndarray, "H W"]) -> Iterator[Piece]:
    """All pixels of each class that occurs, within their box."""
    for index in np.unique(labels).tolist():
        inside: Bool[np.ndarray, "H W"] = labels == index
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        top, left = int(rows[0]), int(columns[0])
        yield Piece(index, top, left, inside[top : rows[-1] + 1, left : columns[-1] + 1])


def mean_inside(confidence: Float[np.ndarray, "H W"], piece: Piece) -> float:
    """Mean over the pixels of a piece."""
    height, width = piece.inside.shape
    box = confidence[piece.top : piece.top + height, piece.left : piece.left + width]
    return float(box[piece.inside].mean(dtype=np.float64))


def _import(module: str) -> Any:
    return import_extra(module, "CVAT's package cvat-sdk", "cvat")
