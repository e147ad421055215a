"""The guarantee of an extension: the scores of the old classes are what they were, in every bit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import spread_indices
from vitseg.errors import VitsegError
from vitseg.inference.predictor import Predictor

NUM_IMAGES = 4
"""Photos that are compared, spread over the data set, beside as many images of noise."""


@torch.inference_mode()
def require_same_scores(old: Predictor, new: Predictor, dataset: SegmentationDataset) -> int:
    """Compare the old classes' scores of two models, on photos and on noise, one image and three at a time.

    Args:
        old: The model before.
        new: The model after, on the same device; its first classes are the old ones.
        dataset: Where photos are taken from.

    Returns:
        How many images were compared.

    Raises:
        VitsegError: A bit differs.
    """
    compared = 0
    for images in _batches(old, dataset):
        before = old.model.eval()(images).scores()
        after = new.model.eval()(images).scores()[:, : before.shape[1]]
        if not torch.equal(before, after):
            difference = (before - after).abs().max().item()
            raise VitsegError(
                f"the extended model scores its old classes differently (by up to {difference:.3g}), though their "
                "parameters are the same: this device computes the same operations differently from call to call. "
                "Nothing was written; extend the model on the CPU (--device cpu)."
            )
        compared += len(images)
    return compared


def _batches(
    predictor: Predictor, dataset: SegmentationDataset
) -> Iterator[Float[Tensor, "b channels H W"]]:
    """Photos one by one as the model takes them, then noise: one image, and three of a size."""
    for index in spread_indices(len(dataset), NUM_IMAGES):
        image = dataset.sample(index).image
        size = predictor.inference.input_size((image.shape[0], image.shape[1]))
        yield predictor.model_input(image, size)
    channels = predictor.preprocessing.num_channels
    noise = torch.Generator().manual_seed(0)
    height, width = predictor.record.image_size
    for batch, size in ((1, (height, width)), (3, (height, width + 8))):
        yield torch.randn(batch, channels, *size, generator=noise).to(predictor.device)
