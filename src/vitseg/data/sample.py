"""An image with its labels: what every data set is a sequence of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from vitseg.images.pixel_source import Notice


@dataclass(frozen=True)
class Sample:
    """An image and the class of each of its pixels.

    Attributes:
        id: Name within the data set, without suffix.
        image: RGB, or the chosen bands, upright. Smaller than the label map where a smaller version was asked for.
        label_map: Class indices; IGNORE_INDEX where a pixel counts nowhere.
        notices: What was decided about the pixels of the image.
    """

    id: str
    image: UInt8[np.ndarray, "_ _ c"]
    label_map: Int64[np.ndarray, "H W"]
    notices: tuple[Notice, ...] = ()
