"""What training will see: the first samples of the stream, with the crops that they become."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from vitseg.data.balance import measure_balance
from vitseg.data.band_choice import with_chosen_bands
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.sample import Sample
from vitseg.errors import VitsegError
from vitseg.images.bands import to_rgb
from vitseg.images.preprocess import to_pixels
from vitseg.images.value_range import ValueRange
from vitseg.training.bands import known_bands
from vitseg.training.display import Display
from vitseg.training.recipe import Recipe
from vitseg.training.sampler import StreamSampler
from vitseg.training.samples import training_samples
from vitseg.training.value_range import measured


class Preview(NamedTuple):
    """A sample of the stream: as it lies on the disk, and as the model gets it; of chosen bands, three as RGB."""

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
    if recipe.data.bands is not None:
        dataset = with_chosen_bands(dataset, recipe.data.bands)
    if recipe.data.value_range is not None:
        dataset = dataset.with_value_range(ValueRange(*recipe.data.value_range))
    if dataset.bands is not None:
        dataset = dataset.with_bands(known_bands(recipe, dataset, Display(quiet=True)))
        assert dataset.bands is not None
        recipe = recipe.with_bands(dataset.bands)
    elif dataset.value_range is None:
        dataset = dataset.with_value_range(
            measured(dataset, recipe.data.num_workers, Display(quiet=True))
        )
    preprocessing = recipe.preprocessing()
    balance = measure_balance(recipe.data.balance, dataset, recipe.data.num_workers)
    drawn = training_samples(recipe, dataset, balance, preprocessing)
    seed, count = recipe.training.seed, len(drawn.samples)
    stream = StreamSampler(count, num_samples, (0, 1), seed, repeats=drawn.repeats)
    previews = []
    for key in next(iter(stream)):
        pair = drawn.samples[key]
        if isinstance(pair, VitsegError):
            raise pair
        crop = to_rgb(to_pixels(pair[0], preprocessing), dataset.bands)
        sample = dataset[drawn.image_of(key[0])]
        image = to_rgb(sample.image, dataset.bands)
        previews.append(Preview(replace(sample, image=image), crop, pair[1].numpy()))
    return previews
