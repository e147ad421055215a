"""Fixed views of images: windows that cover an image, the same in every pass, so that their features can be kept.

Random scales, places and colours give features that no later pass meets again. Here an image is scaled once, and as few
windows of the crop size as cover it are spread evenly over it; where the image is smaller than a window, the window is
padded at the bottom and right. Every pixel is seen, at the scale of the evaluation, and a left-right flip doubles them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor

from vitseg.data.augment import AugmentConfig, CropFrame, CropSize
from vitseg.data.dataset import SegmentationDataset
from vitseg.images.decode import image_size
from vitseg.images.geometry import keep_ratio_size, resize_image, resize_labels
from vitseg.images.preprocess import Preprocessing
from vitseg.images.window import Window
from vitseg.types import Size


class GridViewsConfig(BaseModel):
    """Training on fixed windows of the images instead of random ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    views: Literal["grid"] = Field(
        description="the fewest windows that cover an image, evenly spread; each is a training sample"
    )
    crop_size: CropSize = Field(
        description="(height, width) of a window in pixels; smaller images are padded"
    )
    base_size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="(long, short) side in pixels that an image is scaled to fit; None: the image's own size",
    )
    flip_probability: float = Field(
        default=0.5, ge=0, le=1, description="probability of a left-right flip, in [0, 1]"
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_random(cls, values: object) -> object:
        random = AugmentConfig.model_fields.keys() - cls.model_fields.keys()
        if named := sorted(random & _keys(values)):
            raise ValueError(
                f"the views of a grid are always the same, so {', '.join(named)} would do nothing: leave it out"
            )
        return values

    @model_validator(mode="after")
    def _ordered(self) -> GridViewsConfig:
        if self.base_size is not None and self.base_size[0] < self.base_size[1]:
            raise ValueError(f"base_size is {self.base_size}, but it is (long, short): swap them")
        return self

    @property
    def flips(self) -> tuple[bool, ...]:
        """Which of a window and its mirror image occur."""
        if self.flip_probability in (0, 1):
            return (bool(self.flip_probability),)
        return (False, True)


def _by_views(value: Any) -> AugmentConfig | GridViewsConfig:
    """A union would report the faults of both kinds, so the kind is settled first: only fixed views have `views`."""
    if isinstance(value, (AugmentConfig, GridViewsConfig)):
        return value
    is_grid = isinstance(value, Mapping) and "views" in value
    return (GridViewsConfig if is_grid else AugmentConfig).model_validate(value)


AnyAugmentConfig = Annotated[AugmentConfig | GridViewsConfig, BeforeValidator(_by_views)]
"""Random crops, or with `views: grid` fixed ones."""


class View(NamedTuple):
    """A window of an image.

    Attributes:
        image: Position of the image in the data set.
        size: (height, width) that it is scaled to.
        window: Part of the scaled image.
    """

    image: int
    size: Size
    window: Window


class GridViews:
    """The views of all images of a split, image by image.

    Args:
        dataset: The split; the sizes of its images are read from their headers.
        config: The views.
        preprocessing: Normalisation of the images.

    Raises:
        DataError: The header of an image cannot be read.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        config: GridViewsConfig,
        preprocessing: Preprocessing,
    ) -> None:
        self.dataset = dataset
        self.config = config
        self._frame = CropFrame(config.crop_size, preprocessing)
        self.views: list[View] = []
        for index in range(len(dataset)):
            size = image_size(dataset.image_source(index))
            if config.base_size is not None:
                size = keep_ratio_size(size, *config.base_size)
            windows = covering_windows(size, config.crop_size)
            self.views += [View(index, size, window) for window in windows]

    def __len__(self) -> int:
        return len(self.views)

    @property
    def num_channels(self) -> int:
        """Of the images, as the model gets them."""
        return self._frame.preprocessing.num_channels

    def crops(
        self, wanted: Sequence[tuple[int, bool]]
    ) -> list[tuple[Float32[Tensor, "c h w"], Int64[Tensor, "h w"]]]:
        """Normalised images and labels of some views of one image, which is decoded once.

        Args:
            wanted: (number of a view, whether it is mirrored), all of the same image.

        Raises:
            DataError: The image or its mask cannot be read.
        """
        first = self.views[wanted[0][0]]
        # Decoded at twice the size or more, so that scaling down still has finer pixels to pick from.
        sample = self.dataset.sample(first.image, lambda _: (2 * first.size[0], 2 * first.size[1]))
        crops: list[tuple[Tensor, Tensor]] = []
        for number, mirrored in wanted:
            image, size, window = self.views[number]
            assert image == first.image
            pixels = resize_image(sample.image, size, window)
            labels = resize_labels(sample.label_map, size, window)
            if mirrored:
                pixels, labels = pixels[:, ::-1], labels[:, ::-1]
            crops.append(self._frame(pixels, labels))
        return crops


def _keys(values: object) -> set[str]:
    return set(cast("Mapping[str, Any]", values)) if isinstance(values, Mapping) else set()


def covering_windows(size: Size, crop_size: Size) -> list[Window]:
    """The fewest windows that cover an image, row by row: the outermost lie at its borders, the others evenly between.

    Args:
        size: (height, width) of the image.
        crop_size: (height, width) of a window; windows of a smaller image reach as far as the image.
    """
    tops, lefts = (_starts(*pair) for pair in zip(size, crop_size, strict=True))
    height, width = min(size[0], crop_size[0]), min(size[1], crop_size[1])
    return [Window(top, left, height, width) for top in tops for left in lefts]


def _starts(length: int, window: int) -> list[int]:
    count = max(1, -(-length // window))
    return np.linspace(0, max(0, length - window), count).round().astype(int).tolist()
