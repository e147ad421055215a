"""PLOP's thresholds: how sure the earlier model usually is of each of its classes.

Source: Douillard et al., PLOP (CVPR 2021), section 3.3: the median entropy, by predicted class, over the pixels of the
step's images that are labelled background. What it leaves open: at which size the images are run (here whole, by the
model's own inference protocol), and how a median over all pixels is kept in memory (here by histograms).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import spread_indices
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import probabilities
from vitseg.studies.continual.losses.pseudo_labels import entropy_of

BINS = 2000
"""Bins for entropies from 0 to that of equal probabilities; a median is right to the width of one."""

MOST_IMAGES = 500
"""Images of a step at most, spread over it, on which the medians are taken; the paper takes all."""


def median_entropies(
    predictor: Predictor,
    dataset: SegmentationDataset,
) -> list[float]:
    """The threshold of every class of the earlier model, in nats; 0 for a class that it predicts nowhere.

    Args:
        predictor: The earlier model.
        dataset: The step's images with its labels, in which class 0 is the background.
    """
    num_classes = predictor.classes.num_classes
    counts = torch.zeros(num_classes, BINS, dtype=torch.long)
    for index in spread_indices(len(dataset), MOST_IMAGES):
        sample = dataset[index]
        strips = probabilities(predictor.scores(sample.image))
        probs = torch.cat([strip.cpu().float() for strip in strips], dim=1)
        is_background = torch.from_numpy(sample.label_map == 0)
        entropies, best = entropy_of(probs)[is_background], probs.argmax(0)[is_background]
        counts += entropy_histograms(entropies, best, num_classes)
    return medians(counts).tolist()


def entropy_histograms(
    entropies: Float[Tensor, " n"], classes: Int[Tensor, " n"], num_classes: int
) -> Int[Tensor, "k bins"]:
    """Pixels by predicted class and entropy."""
    bins = (entropies / math.log(num_classes) * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(classes * BINS + bins, minlength=num_classes * BINS)
    return counts.view(num_classes, BINS)


def medians(counts: Int[Tensor, "k bins"]) -> Float[Tensor, " k"]:
    """Upper edge of the bin that holds the median of each class, in nats; 0 for a class without pixels."""
    cumulated, totals = counts.cumsum(1), counts.sum(1)
    middle = (2 * cumulated >= totals[:, None]).int().argmax(1)
    entropies = (middle + 1) / BINS * math.log(len(counts))
    return torch.where(totals > 0, entropies, 0.0)
