"""Losses of binary masks: focal and dice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

ALPHA = 0.25
"""Weight of foreground pixels in the focal loss, 1 - ALPHA of background (RetinaNet, section 4.1)."""

CHUNK = 2**18
"""Pixels that are worked on at a time on a processor: a temporary of 1 MB stays in its cache."""


def focal_and_dice(
    logits: Float[Tensor, "p n"], targets: Bool[Tensor, "p n"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """The mean of `focal_terms` and the `dice_loss` of every mask, in one pass over the pixels.

    At full resolution these losses wait for the memory: written as a chain of operations, each of a dozen makes a
    temporary of the masks' size. Here the pixels are read once forward and once backward, and nothing of their size is
    kept but what came in. There is no second derivative. `torch.compile` takes it as one operation, as it is.

    Args:
        logits: Mask logits.
        targets: True in the mask.
    """
    focal, dice, _, _ = _focal_and_dice(logits, targets)
    return focal, dice


def labelled_focal_and_dice(
    logits: Float[Tensor, "p n"], targets: Bool[Tensor, "p n"], labelled: Bool[Tensor, "p n"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """The same over the labelled pixels alone: of the others there is neither loss nor gradient.

    Args:
        logits: Mask logits.
        targets: True in the mask; nowhere else than where `labelled` is.
        labelled: True where a pixel counts.
    """
    focal, dice = focal_and_dice(logits.masked_fill(~labelled, _SURELY_OUTSIDE), targets)
    return focal * (logits.shape[1] / labelled.sum(-1).clamp(min=1)), dice


_SURELY_OUTSIDE = -1e4
"""A logit of which sigmoid is 0 and softplus is 0, exactly, in every precision: such a pixel adds nothing."""


@torch.library.custom_op(
    "vitseg::focal_and_dice",
    mutates_args=(),
    schema="(Tensor logits, Tensor targets) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _focal_and_dice(
    logits: Float[Tensor, "p n"], targets: Bool[Tensor, "p n"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"], Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Focal, dice, and the two sums that dice is made of.

    With z = -x in the mask and x outside, 1 - p_t is sigmoid(z), and -log p_t is softplus(z).
    """
    focal, overlap, union = (logits.new_empty(len(logits)) for _ in range(3))
    for rows in _chunks(logits):
        inside, wrong, _, cross_entropy = _pixels(logits[rows], targets[rows])
        terms = cross_entropy.mul_(wrong).mul_(wrong)
        focal[rows] = (1 - ALPHA) * terms.mean(-1)
        focal[rows] -= (1 - 2 * ALPHA) * terms.mul_(inside).mean(-1)
        size, missed = inside.sum(-1), (wrong * inside).sum(-1)
        overlap[rows] = 2 * (size - missed) + 1
        union[rows] = 2 * (size - missed) + wrong.sum(-1) + 1
    return focal, 1 - overlap / union, overlap, union


@torch.library.custom_op(
    "vitseg::focal_and_dice_backward",
    mutates_args=(),
    schema="(Tensor logits, Tensor targets, Tensor overlap, Tensor union, Tensor of_focal, Tensor of_dice) -> Tensor",
)
def _focal_and_dice_backward(
    logits: Float[Tensor, "p n"],
    targets: Bool[Tensor, "p n"],
    overlap: Float[Tensor, " p"],
    union: Float[Tensor, " p"],
    of_focal: Float[Tensor, " p"],
    of_dice: Float[Tensor, " p"],
) -> Float[Tensor, "p n"]:
    of_focal = of_focal[:, None] / logits.shape[1]
    of_pixel = (of_dice * overlap / union**2)[:, None]  # of every p, and less inside
    of_inside = (of_dice * 2 / union)[:, None]
    gradient = torch.empty_like(logits)
    for rows in _chunks(logits):
        inside, wrong, right, cross_entropy = _pixels(logits[rows], targets[rows])
        # d/dx of alpha_t (1 - p_t)^2 (-log p_t); alpha_t dz/dx is 1 - ALPHA outside and -ALPHA inside
        slope = cross_entropy.mul_(right).mul_(2).add_(wrong).mul_(wrong).mul_(wrong)
        slope = slope.mul_(1 - ALPHA - inside).mul_(of_focal[rows])
        of_p = inside.mul_(-of_inside[rows]).add_(of_pixel[rows]).mul_(wrong).mul_(right)
        torch.add(slope, of_p, out=gradient[rows])
    return gradient


@_focal_and_dice.register_fake
def _shapes(logits, targets):
    del targets
    return tuple(logits.new_empty(logits.shape[0]) for _ in range(4))


@_focal_and_dice_backward.register_fake
def _gradient_shape(logits, *_):
    return torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output[2:])


def _gradients(
    ctx: Any, of_focal: Tensor, of_dice: Tensor, *_: Tensor | None
) -> tuple[Tensor, None]:
    return _focal_and_dice_backward(*ctx.saved_tensors, of_focal, of_dice), None


_focal_and_dice.register_autograd(_gradients, setup_context=_keep)


def _chunks(logits: Float[Tensor, "p n"]) -> Iterator[slice]:
    """Some masks at a time; all of them on a device that would wait for the next to be started."""
    count = len(logits)
    step = max(1, CHUNK // logits.shape[1]) if logits.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, count, step))


def _pixels(
    logits: Float[Tensor, "p n"], targets: Bool[Tensor, "p n"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The target as a number, 1 - p_t, p_t and -log p_t of some masks."""
    inside = targets.to(logits.dtype)
    away = torch.addcmul(logits, logits, inside, value=-2)
    wrong, right = away.sigmoid(), away.neg().sigmoid_()
    # log and sigmoid are vectorised, softplus is not. Where p_t underflows, softplus(z) is z.
    cross_entropy = right.clamp(min=torch.finfo(right.dtype).tiny).log_().neg_()
    return inside, wrong, right, torch.maximum(cross_entropy, away, out=cross_entropy)


def focal_terms(
    logits: Float[Tensor, "p n"], probs: Float[Tensor, "p n"], targets: Float[Tensor, "p n"]
) -> Float[Tensor, "p n"]:
    """alpha_t (1 - p_t)^2 (-log p_t) of every pixel (RetinaNet eq. 5, gamma 2).

    Args:
        logits: Mask logits.
        probs: sigmoid(logits).
        targets: 1 in the mask, 0 outside; then 1 - p_t = |targets - probs|.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weights = (1 - ALPHA) - (1 - 2 * ALPHA) * targets
    return cross_entropy * (targets - probs).square() * weights


def dice_loss(probs: Float[Tensor, "p n"], targets: Float[Tensor, "p n"]) -> Float[Tensor, " p"]:
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1) of every mask (MaskFormer, appendix A)."""
    overlap = 2 * (probs * targets).sum(-1) + 1
    return 1 - overlap / (probs.sum(-1) + targets.sum(-1) + 1)
