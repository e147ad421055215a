"""MiB: losses that know that the background of a step hides the classes of other steps.

Source: Cermelli et al., "Modeling the Background for Incremental Learning in Semantic Segmentation" (CVPR 2020),
equations 4 to 7. Class 0 is the background, then come the classes of earlier steps, then those of the current one.

What the paper leaves open: which pixels count. Here those with the ignore label, and so the padding of crops, count in
neither loss; the distillation is a sum over classes as in equation 6, and a mean over pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import MeanOver
from vitseg.losses.whole_step import labelled_pixels


def unbiased_cross_entropy(
    logits: Float[Tensor, "b k H W"],
    labels: Int[Tensor, "b H W"],
    num_old: int,
    mean_over: MeanOver = "labelled",
) -> Float[Tensor, ""]:
    """Cross-entropy in which a pixel of the background may be of any earlier class (equations 4 and 5).

    The probability of the label "background" is the sum of those of the background and of all earlier classes.

    Args:
        logits: Class logits at pixel size.
        labels: 0 (background), classes of the current step, or IGNORE_INDEX.
        num_old: Classes of the earlier model, the background included.
        mean_over: What the sum is divided by, see `PixelLossConfig`.
    """
    log_probs = logits.float().log_softmax(1)
    background = log_probs[:, :num_old].logsumexp(1, keepdim=True)
    joined = torch.cat([background, log_probs[:, 1:]], dim=1)
    total = F.nll_loss(joined, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (labelled_pixels(labels) if mean_over == "labelled" else labels.numel())


def unbiased_distillation(
    logits: Float[Tensor, "b k H W"],
    old_logits: Float[Tensor, "b k0 H W"],
    labels: Int[Tensor, "b H W"],
) -> Float[Tensor, ""]:
    """Cross-entropy with the earlier model, whose background may be of any new class (equations 6 and 7).

    The new model's probability of what the earlier one calls background is the sum of those of the background and of
    all classes of the current step.

    Args:
        logits: Class logits of the model that is trained, at pixel size.
        old_logits: Class logits of the earlier model.
        labels: Only where they are IGNORE_INDEX matters: there nothing is distilled.
    """
    num_old = old_logits.shape[1]
    log_probs = logits.float().log_softmax(1)
    hidden = torch.cat([log_probs[:, :1], log_probs[:, num_old:]], dim=1)
    background = hidden.logsumexp(1, keepdim=True)
    joined = torch.cat([background, log_probs[:, 1:num_old]], dim=1)  # (b, k0, H, W)
    terms = -(old_logits.float().softmax(1) * joined).sum(1)  # (b, H, W)
    return (terms * (labels != IGNORE_INDEX)).sum() / labelled_pixels(labels)
