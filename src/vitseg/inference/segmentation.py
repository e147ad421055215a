"""The segmentation of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vitseg.classes import ClassTable
from vitseg.errors import ConfigError
from vitseg.render.overlay import draw_overlay
from vitseg.render.palette import save_label_png
from vitseg.types import Size


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of one image at the image's own size.

    Attributes:
        label_map: Class index of every pixel, (H, W).
        classes: Names and colours of the classes.
        image: The image itself, (H, W, 3) uint8 RGB, upright (EXIF orientation applied).
        path: Where the image came from, if it came from a file.
    """

    label_map: np.ndarray
    classes: ClassTable
    image: np.ndarray
    path: Path | None = None

    @property
    def size(self) -> Size:
        height, width = self.label_map.shape
        return height, width

    @property
    def class_areas(self) -> dict[str, float]:
        """Share of the image that each class covers, in [0, 1], largest first; absent classes are left out."""
        counts = np.bincount(self.label_map.reshape(-1), minlength=self.classes.num_classes)
        order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {
            self.classes.names[index]: float(counts[index]) / self.label_map.size for index in order
        }

    def overlay(self, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """The image with the classes painted over it.

        Args:
            opacity: Weight of the class colour over the image, in [0, 1].
            legend: Whether to add a legend of the classes that occur, below the image.
        """
        return draw_overlay(
            self.image, self.label_map, self.classes, opacity=opacity, legend=legend
        )

    def save(self, path: str | Path) -> None:
        """Write the label map as an indexed PNG with the palette (16-bit grey above 256 classes).

        Raises:
            ConfigError: The name does not end in .png: other formats would change the indices.
        """
        if Path(path).suffix.lower() != ".png":
            raise ConfigError(
                f"{path}: label maps are saved as .png, since other formats would change the indices."
            )
        save_label_png(Path(path), self.label_map, self.classes)
