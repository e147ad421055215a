"""The training augmentation of the papers: resize, crop, flip, photometric distortion, normalise, pad."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.data.balance import RareClassCrops
from vitseg.data.photometric import brighten, distort
from vitseg.data.sample import Sample
from vitseg.images.decoded import MAX_PIXELS
from vitseg.images.geometry import keep_ratio_size, resize_image, resize_labels
from vitseg.images.preprocess import Preprocessing, to_padded_tensor
from vitseg.images.window import Window
from vitseg.types import Size

_CROP_RETRIES = 10


def _no_larger_than_images(size: Size) -> Size:
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"a crop of {size[0]:,} x {size[1]:,} pixels is larger than any image that is read whole "
            f"({MAX_PIXELS:,} pixels): give a smaller one, such as [512, 512]"
        )
    return size


CropSize = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_no_larger_than_images)]
"""(height, width) of a training sample in pixels."""


class AugmentConfig(BaseModel):
    """How training samples are varied. The defaults are those of the papers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_size: CropSize = Field(
        description="(height, width) of a training sample in pixels; smaller images are padded"
    )
    base_size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="(long, short) side in pixels that an image is scaled to fit at ratio 1; "
        "None: the image's own size",
    )
    scale_range: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.5, 2.0), description="lowest and highest ratio that multiplies the base size"
    )
    scale_choices: tuple[PositiveFloat, ...] | None = Field(
        default=None,
        min_length=1,
        description="ratios of which one is drawn, in place of scale_range (the SeMask recipes)",
    )
    max_class_share: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="share of the labelled pixels of a crop, in (0, 1], that the commonest class "
        "must stay below; 1: any crop is taken",
    )
    flip_probability: float = Field(
        default=0.5, ge=0, le=1, description="probability of a left-right flip, in [0, 1]"
    )
    photometric_distortion: bool = Field(
        default=True,
        description="vary brightness, contrast, saturation and hue; of chosen bands the first two",
    )

    @model_validator(mode="after")
    def _ordered(self) -> AugmentConfig:
        if self.scale_range[0] > self.scale_range[1]:
            raise ValueError(
                f"scale_range is {self.scale_range}, but its first value must not exceed its second"
            )
        default = type(self).model_fields["scale_range"].default
        if self.scale_choices is not None and self.scale_range != default:
            raise ValueError("scale_choices stands in place of scale_range: leave one of them out")
        if self.base_size is not None and self.base_size[0] < self.base_size[1]:
            raise ValueError(f"base_size is {self.base_size}, but it is (long, short): swap them")
        return self


class CropFrame:
    """Normalises a crop and pads it to the crop size.

    Args:
        crop_size: (height, width) in pixels.
        preprocessing: Normalisation of the images.
    """

    def __init__(self, crop_size: Size, preprocessing: Preprocessing) -> None:
        self.crop_size = crop_size
        self.preprocessing = preprocessing

    def __call__(
        self, image: UInt8[np.ndarray, "_ _ c"], label_map: Int64[np.ndarray, "_ _"]
    ) -> tuple[Float32[Tensor, "c h w"], Int64[Tensor, "h w"]]:
        """An image no larger than the crop, and its labels; padding is 0 behind the normalisation, IGNORE_INDEX."""
        height, width = label_map.shape
        labels = np.full(self.crop_size, IGNORE_INDEX, np.int64)
        labels[:height, :width] = label_map
        pixels = to_padded_tensor(image, self.preprocessing, self.crop_size)
        return pixels, torch.as_tensor(labels)


class TrainTransform:
    """A sample to a normalised crop with its labels, every random choice drawn from the generator given.

    The resized image is computed only where the crop needs it.

    Args:
        config: The augmentation.
        preprocessing: Normalisation of the images.
        rare_crops: Places some of the crops on rare classes. None: on none.
    """

    def __init__(
        self,
        config: AugmentConfig,
        preprocessing: Preprocessing,
        rare_crops: RareClassCrops | None = None,
    ) -> None:
        self.config = config
        self._rare_crops = rare_crops
        self._frame = CropFrame(config.crop_size, preprocessing)

    def __call__(
        self, sample: Sample, rng: np.random.Generator, size: tuple[int, int] | None = None
    ) -> tuple[Float32[Tensor, "c h w"], Int64[Tensor, "h w"]]:
        """One variation of the sample, of `crop_size`.

        Padding, at the bottom and right, is 0 in the normalised image and IGNORE_INDEX in the labels.

        Args:
            sample: Image and labels; the image may have been decoded at a reduced size.
            rng: Source of all randomness: the same state gives the same result.
            size: What `random_size` has drawn for this sample. None: it is drawn here.
        """
        size = size or self.random_size(sample.label_map.shape, rng)
        window = self._random_window(sample.label_map, size, rng)
        image = resize_image(sample.image, size, window)
        label_map = resize_labels(sample.label_map, size, window)
        if rng.random() < self.config.flip_probability:
            image, label_map = image[:, ::-1], label_map[:, ::-1]
        if self.config.photometric_distortion:
            # bands have neither hue nor saturation
            has_colors = self._frame.preprocessing.bands is None
            image = distort(image, rng) if has_colors else brighten(image, rng)
        return self._frame(image, label_map)

    def random_size(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """The (height, width) that a sample of this (height, width) is scaled to, the first thing to be drawn."""
        long, short = self.config.base_size or (max(size), min(size))
        choices, bounds = self.config.scale_choices, self.config.scale_range
        ratio = rng.uniform(*bounds) if choices is None else choices[rng.integers(len(choices))]
        return keep_ratio_size(size, max(1, int(long * ratio)), max(1, int(short * ratio)))

    def _random_window(
        self, label_map: np.ndarray, size: tuple[int, int], rng: np.random.Generator
    ) -> Window:
        """Around a pixel of a rare class; or the first candidate without a dominant class, after ten any eleventh."""
        if self._rare_crops is not None:
            place = self._rare_crops.draw(label_map, rng)
            if place is not None:
                return window_around(place, label_map.shape, size, self.config.crop_size)
        window = random_window(size, self.config.crop_size, rng)
        if self.config.max_class_share == 1:
            return window
        for _ in range(_CROP_RETRIES):
            if _is_mixed(resize_labels(label_map, size, window), self.config.max_class_share):
                break
            window = random_window(size, self.config.crop_size, rng)
        return window


def random_window(
    size: tuple[int, int], crop_size: tuple[int, int], rng: np.random.Generator
) -> Window:
    """A window of `crop_size`, or as far as the image reaches, at a uniformly random place in `size`."""
    height, width = min(size[0], crop_size[0]), min(size[1], crop_size[1])
    top = int(rng.integers(0, size[0] - height + 1))
    left = int(rng.integers(0, size[1] - width + 1))
    return Window(top, left, height, width)


def window_around(
    place: tuple[int, int],
    old_size: tuple[int, int],
    size: tuple[int, int],
    crop_size: tuple[int, int],
) -> Window:
    """The window of `crop_size`, or as far as the image reaches, whose middle is nearest to a pixel.

    Args:
        place: (row, column) of the pixel in an image of `old_size`.
        old_size: (height, width) before scaling.
        size: (height, width) after scaling, in which the window lies.
        crop_size: (height, width) of the window.
    """
    starts: list[int] = []
    lengths: list[int] = []
    for at, old, new, crop in zip(place, old_size, size, crop_size, strict=True):
        length = min(new, crop)
        middle = (2 * at + 1) * new // (2 * old)
        starts.append(min(max(middle - length // 2, 0), new - length))
        lengths.append(length)
    return Window(starts[0], starts[1], lengths[0], lengths[1])


def _is_mixed(label_map: np.ndarray, max_class_share: float) -> bool:
    """Whether there are two classes or more, none of which covers `max_class_share` of the labelled pixels."""
    with_ignored = np.bincount(label_map.ravel() - IGNORE_INDEX)
    counts = with_ignored[1:]
    return bool((counts > 0).sum() > 1 and counts.max() < max_class_share * counts.sum())
