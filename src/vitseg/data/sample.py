"""What every data set is: a sequence of images with label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int64, UInt8

from vitseg.classes import ClassTable


@dataclass(frozen=True)
class Sample:
    """An image and the class of each of its pixels.

    Attributes:
        id: Name within the data set, without suffix.
        image: RGB, upright.
        label_map: Class indices; IGNORE_INDEX where a pixel counts nowhere.
    """

    id: str
    image: UInt8[np.ndarray, "H W 3"]
    label_map: Int64[np.ndarray, "H W"]


class SegmentationDataset(Protocol):
    """One split of a data set.

    `label_mapping` says what a mask file may hold: raw id -> class index or IGNORE_INDEX.
    """

    name: str
    classes: ClassTable
    split: str
    ids: Sequence[str]
    label_mapping: Mapping[int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Decode one sample.

        Raises:
            DataError: A file is damaged, the two sizes differ, or the mask has an id that
                `label_mapping` lacks.
        """
        ...

    def image_path(self, index: int) -> Path: ...

    def mask_path(self, index: int) -> Path: ...
