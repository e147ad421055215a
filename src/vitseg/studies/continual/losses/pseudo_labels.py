"""PLOP's pseudo-labels: pixels of the background get the class that the earlier model is sure of.

Source: Douillard et al., PLOP (CVPR 2021), equations 7 to 9. Class 0 is the background; the earlier model's classes are
the first ones of the new model.

What the paper leaves open: an image without any pixel of the background has no share of accepted pixels. Nothing in it
is in doubt, so its weight is 1 here. A class that the earlier model predicts nowhere in the step's images has no
median; its threshold is then 0, which accepts nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.whole_step import labelled_pixels


def entropy_of(probs: Float[Tensor, "*b k H W"]) -> Float[Tensor, "*b H W"]:
    """-sum p log p over the classes, in nats."""
    return -(probs * probs.clamp(min=torch.finfo(probs.dtype).tiny).log()).sum(-3)


def pseudo_labelled(
    labels: Int[Tensor, "b H W"],
    old_logits: Float[Tensor, "b k0 H W"],
    thresholds: Float[Tensor, " k0"],
) -> tuple[Int[Tensor, "b H W"], Float[Tensor, " b"]]:
    """Labels with those of the earlier model for the background (equation 8), and the weight of every image.

    A pixel of the background gets the earlier model's best class, which may be the background, where the entropy of its
    probabilities is below the threshold of that class; elsewhere it gets IGNORE_INDEX, since nothing is known of it.

    Args:
        labels: 0 (background), classes of the current step, or IGNORE_INDEX.
        old_logits: Class logits of the earlier model at pixel size.
        thresholds: Largest entropy, in nats, by class of the earlier model.

    Returns:
        The labels, and of each image the share, in [0, 1], of its pixels of the background that got a class: the
        adaptive factor of equation 9.
    """
    probs = old_logits.float().softmax(1)
    best = probs.argmax(1)
    is_sure = entropy_of(probs) < thresholds[best]
    is_background = labels == 0
    found = torch.where(is_sure, best, IGNORE_INDEX)
    accepted = (is_background & is_sure).flatten(1).sum(1)
    count = is_background.flatten(1).sum(1)
    weights = torch.where(count > 0, accepted / count.clamp(min=1), 1.0)
    return torch.where(is_background, found, labels), weights


def weighted_cross_entropy(
    logits: Float[Tensor, "b k H W"],
    pseudo: Int[Tensor, "b H W"],
    labels: Int[Tensor, "b H W"],
    weights: Float[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Cross-entropy with the pseudo-labels, every image weighted (equation 9).

    Args:
        logits: Class logits at pixel size.
        pseudo: Labels with pseudo-labels; pixels with IGNORE_INDEX add 0.
        labels: Labels of the data set: the sum is divided by their number, so that rejected pixels count in the
            mean as in the paper's 1 / (W H), but the padding of crops does not.
        weights: Weight of every image.
    """
    terms = F.cross_entropy(logits.float(), pseudo, ignore_index=IGNORE_INDEX, reduction="none")
    total = (terms.flatten(1).sum(1) * weights).sum()
    return total / labelled_pixels(labels)
