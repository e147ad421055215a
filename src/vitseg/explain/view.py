"""An image that is run in one piece and one view, as every explanation shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from vitseg.classes import ClassTable
from vitseg.inference.image_source import ImageSource
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import OutputScores, ScoreMap, label_map, resized
from vitseg.inference.segmentation import Segmentation
from vitseg.outputs import SegOutput
from vitseg.types import Size


@dataclass(frozen=True)
class View:
    """An image and what a model gets of it, at the size of the model's protocol.

    Where that has sliding windows or several views, the labels may differ a little from those of a prediction.

    Attributes:
        image: RGB as it is shown, upright.
        path: Where it came from, if it came from a file.
        classes: Classes of the model.
        images: The image as the model takes it.
        valid: Which pixels hold data; None: all.
    """

    image: UInt8[np.ndarray, "H W 3"]
    path: Path | None
    classes: ClassTable
    images: Float[Tensor, "1 channels _ _"]
    valid: Bool[np.ndarray, "H W"] | None = None

    @classmethod
    def of(cls, predictor: Predictor, source: ImageSource) -> View:
        """The view of an image.

        Raises:
            DataError: The image cannot be read, or would be run far beyond its own size.
        """
        found = predictor.read(source, placed=True)
        pixels = found.pixels
        path = Path(source) if isinstance(source, (str, Path)) else None
        input_size = predictor.inference.input_size((pixels.shape[0], pixels.shape[1]))
        images = predictor.model_input(pixels, input_size)
        return cls(predictor.picture_of(pixels), path, predictor.classes, images, found.valid)

    @property
    def size(self) -> Size:
        """Of the image itself, in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def scores(self, output: SegOutput) -> ScoreMap:
        """Class scores of an output, at the image's own size."""
        return resized(OutputScores(output), self.size)

    def labels(self, output: SegOutput) -> Integer[np.ndarray, "H W"]:
        """The labels of an output, at the image's own size.

        Raises:
            VitsegError: The scores are NaN or infinite.
        """
        return label_map(self.scores(output))

    def segmentation(self, labels: Integer[np.ndarray, "H W"]) -> Segmentation:
        """The image with its labels."""
        return Segmentation(
            label_map=labels,
            classes=self.classes,
            image=self.image,
            path=self.path,
            valid=self.valid,
        )
