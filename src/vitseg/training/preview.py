"""What training will see: the first samples of the stream, with the crops that they become."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from vitseg.backbones.create import pretrained_mean_std
from vitseg.data.balance import measure_balance
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.sample import Sample
from vitseg.errors import VitsegError
from vitseg.images.preprocess import Preprocessing
from vitseg.training.recipe import Recipe
from vitseg.training.sampler import StreamSampler
from vitseg.training.samples import training_samples


class Preview(NamedTuple):
    """A sample of the stream: as it lies on the disk, and as the model gets it."""

    sample: Sample
    crop: UInt8[np.ndarray, "h w 3"]
    crop_labels: Int64[np.ndarray, "h w"]


def preview(recipe: Recipe, dataset: SegmentationDataset, num_samples: int) -> list[Preview]:
    """The first samples that a training by this recipe on one device would see, in their order.

    Args:
        recipe: Its augmentation, sampling, seed and normalisation are used.
        dataset: The split to train on.
        num_samples: How many, at least 1.

    Raises:
        DataError: A sample cannot be read.
    """
    mean, std = pretrained_mean_std(recipe.model.backbone)
    mean255, std255 = [value * 255 for value in mean], [value * 255 for value in std]
    balance = measure_balance(recipe.data.balance, dataset, recipe.data.num_workers)
    drawn = training_samples(recipe, dataset, balance, Preprocessing(mean=mean, std=std))
    seed, count = recipe.training.seed, len(drawn.samples)
    stream = StreamSampler(count, num_samples, (0, 1), seed, repeats=drawn.repeats)
    previews = []
    for key in next(iter(stream)):
        pair = drawn.samples[key]
        if isinstance(pair, VitsegError):
            raise pair
        crop = _to_pixels(pair[0], mean255, std255)
        previews.append(Preview(dataset[drawn.image_of(key[0])], crop, pair[1].numpy()))
    return previews


def _to_pixels(image: Tensor, mean: list[float], std: list[float]) -> UInt8[np.ndarray, "h w 3"]:
    """The normalisation undone; padding, which is 0 behind it, is shown as the mean colour."""
    pixels = image.permute(1, 2, 0).numpy() * np.array(std) + np.array(mean)
    return pixels.round().clip(0, 255).astype(np.uint8)
