"""How often each class occurs: what loss weights and sampling by class are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.parallel import map_in_order


@dataclass(frozen=True)
class ClassStatistics:
    """Counts of one split, by class index; ignored pixels count nowhere.

    Attributes:
        pixels: Pixels of each class.
        around: Labelled pixels of all images that show each class.
        present: Whether image n has a pixel of class k.
    """

    pixels: Int64[np.ndarray, " k"]
    around: Int64[np.ndarray, " k"]
    present: Bool[np.ndarray, "n k"]

    @property
    def images(self) -> Int64[np.ndarray, " k"]:
        """Images in which each class occurs."""
        return self.present.sum(0)

    @property
    def num_images(self) -> int:
        return len(self.present)

    @property
    def labelled_pixels(self) -> int:
        """Pixels of all classes together."""
        return int(self.pixels.sum())


def class_statistics(
    dataset: SegmentationDataset,
    num_workers: int = 0,
    on_image: Callable[[], object] = lambda: None,
) -> ClassStatistics:
    """Count the pixels of every class in every mask; images are not decoded.

    Args:
        dataset: The split.
        num_workers: Processes that read masks; 0: this one.
        on_image: Called once per image.

    Raises:
        DataError: A mask is damaged or has an id outside the table.
    """
    num_classes = dataset.classes.num_classes
    pixels, around = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    present = np.zeros((len(dataset), num_classes), bool)
    counts = map_in_order(_ClassCounter(dataset), range(len(dataset)), num_workers)
    for index, of_image in enumerate(counts):
        pixels += of_image
        around[of_image > 0] += of_image.sum()
        present[index] = of_image > 0
        on_image()
    return ClassStatistics(pixels, around, present)


class _ClassCounter:
    """Pixels of each class in one mask; picklable."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset

    def __call__(self, index: int) -> Int64[np.ndarray, " k"]:
        label_map = self._dataset.label_map(index)
        labels = label_map[label_map >= 0]
        return np.bincount(labels, minlength=self._dataset.classes.num_classes)
