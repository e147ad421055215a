"""Some images of a split, spread over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Integer
from numpy import ndarray

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.stored import PickedImages, StoredImages
from vitseg.types import Size


def spread_indices(length: int, count: int) -> list[int]:
    """At most `count` positions of a sequence, at equal distances, from the first on."""
    count = min(length, count)
    return [number * length // count for number in range(count)]


def picked(dataset: SegmentationDataset, indices: Sequence[int]) -> SegmentationDataset:
    """The data set of some of a split's images.

    Args:
        dataset: The split.
        indices: Positions in it.
    """
    images = dataset.images
    return replace(
        dataset,
        ids=[dataset.ids[index] for index in indices],
        images=PickedImages(images, indices)
        if isinstance(images, StoredImages)
        else [dataset.image_source(index) for index in indices],
        masks=_PickedMasks(dataset, indices),
    )


class _PickedMasks:
    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int]):
        self.dataset = dataset
        self.indices = indices
        self.are_pictures = dataset.masks.are_pictures

    def read(self, index: int, size: Callable[[], Size]) -> Integer[ndarray, "H W"]:
        return self.dataset.masks.read(self.indices[index], size)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.dataset.mask_files(self.indices[index])

    def own_turn(self, index: int) -> int:
        return self.dataset.masks.own_turn(self.indices[index])
