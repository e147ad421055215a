"""The training samples of a recipe: random crops, or fixed views."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from vitseg.data.augment import TrainTransform
from vitseg.data.balance import Balance
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.grid_views import GridViews, GridViewsConfig
from vitseg.images.preprocess import Preprocessing
from vitseg.training.recipe import Recipe
from vitseg.training.sampler import GridSamples, TrainSamples


class TrainingSamples(NamedTuple):
    """What a training draws from.

    Attributes:
        samples: One per image, or one per view of it.
        repeats: How often each is shown per pass; None: once.
    """

    samples: TrainSamples | GridSamples
    repeats: Float64[np.ndarray, " n"] | None

    def image_of(self, index: int) -> int:
        """Position in the data set of the image of a sample."""
        if isinstance(self.samples, GridSamples):
            return self.samples.views.views[index].image
        return index


def training_samples(
    recipe: Recipe, dataset: SegmentationDataset, balance: Balance, preprocessing: Preprocessing
) -> TrainingSamples:
    """The samples of the training split.

    Args:
        recipe: Its augmentation and seed are used.
        dataset: The split to train on.
        balance: What is done about rare classes.
        preprocessing: Normalisation of the images.

    Raises:
        DataError: The size of an image cannot be read, where fixed views need it.
    """
    config, seed = recipe.data.augment, recipe.training.seed
    if not isinstance(config, GridViewsConfig):
        transform = TrainTransform(config, preprocessing, balance.crops)
        return TrainingSamples(TrainSamples(dataset, transform, seed), balance.repeats)
    views = GridViews(dataset, config, preprocessing)
    repeats = balance.repeats
    if repeats is not None:
        repeats = repeats[[view.image for view in views.views]]
    return TrainingSamples(GridSamples(views, seed), repeats)
