"""What writes the annotations of one tool, and which tools there are."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vitseg.classes import ClassTable
from vitseg.files import whole_file


class AnnotationFolder(ABC):
    """A folder of images and their annotations, which is a data set, too.

    Args:
        folder: Where it is written.
        classes: Names and colours of the classes.
    """

    images = "images"
    """Where the images lie below the folder."""

    def __init__(self, folder: Path, classes: ClassTable):
        self.folder = folder
        self.classes = classes

    def add(self, image: Path, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        """Copy an image, and keep or write its annotations.

        Args:
            image: The file.
            name: What it is called in the folder, with its suffix; no other one has the same stem.
            label_map: Class index of every pixel, as the image is shown (upright); IGNORE_INDEX where it has none.
        """
        with whole_file(self.folder / self.images / name) as partial:
            shutil.copyfile(image, partial)
        self.annotate(name, label_map)

    @abstractmethod
    def annotate(self, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        """Keep or write the annotations of an image; see `add`."""

    @abstractmethod
    def close(self) -> None:
        """Write what all images share."""
