"""Points of the images at which masks are compared, in place of all cells.

Source: Mask2Former (CVPR 2022), section 3.3, after PointRend (CVPR 2020), section 3.1: masks are matched on points
drawn evenly, and trained on points most of which are those of the least certain among many.

Points lie in the image, never in its padding, and carry the label of their pixel. (The paper reads masks of the labels
between pixels, too; those would have to be held at full size, one for each class of each image.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.types import Size


def draw_points(
    rows: int, number: int, size: Size, like: Shaped[Tensor, "..."]
) -> Float[Tensor, "p n 2"]:
    """Points (row, column) in pixels, even over the image, from the global seed of the device of `like`.

    Args:
        rows: Sets of points.
        number: Points of each.
        size: Of the images, in pixels.
        like: Whose device they are on.
    """
    scale = torch.tensor(size, dtype=torch.float32, device=like.device)
    return torch.rand(rows, number, 2, device=like.device) * scale


def labels_at_points(
    labels: Int[Tensor, "b H W"], image: Int[Tensor, " p"], points: Float[Tensor, "p n 2"]
) -> Int[Tensor, "p n"]:
    """The label of the pixel in which a point lies.

    Args:
        labels: Class indices or IGNORE_INDEX.
        image: Which of the label maps each set of points is in.
        points: (row, column) in pixels.
    """
    # Rounding may carry a product with the largest random number up to the size itself.
    rows, columns = (
        points[..., axis].long().clamp(max=labels.shape[1 + axis] - 1) for axis in (0, 1)
    )
    return labels[image[:, None], rows, columns]


def logits_at_points(
    mask_logits: Float[Tensor, "p q h w"], points: Float[Tensor, "p n 2"], padded_size: Size
) -> Float[Tensor, "p q n"]:
    """Masks between their cells, bilinearly, as a resize to pixels has them: the border's value goes on beyond it.

    Args:
        mask_logits: Over the padded image.
        points: (row, column) in pixels.
        padded_size: Of the padded image, in pixels.
    """
    size = torch.tensor(padded_size, dtype=points.dtype, device=points.device)
    grid = (2 * points / size - 1).flip(-1)  # (p, n, 2), x before y
    found = F.grid_sample(
        mask_logits.float(), grid[:, None], padding_mode="border", align_corners=False
    )
    return found[:, :, 0]  # (p, q, n)


@torch.no_grad()
def uncertain_points(
    mask_logits: Float[Tensor, "p h w"],
    labels: Int[Tensor, "b H W"],
    image: Int[Tensor, " p"],
    padded_size: Size,
    number: int,
    oversample: float,
    importance: float,
) -> Float[Tensor, "p n 2"]:
    """Points for the loss of single masks: the least certain among many, and some drawn evenly.

    A mask is the less certain, the nearer its logit is to 0. Pixels with the ignore label are chosen last.

    Args:
        mask_logits: One mask of each pair of query and target, over the padded image.
        labels: Of the images.
        image: Which image each pair is of.
        padded_size: Of the padded images, in pixels.
        number: Points of each mask.
        oversample: Candidates per point, 1 or more.
        importance: Share of the points that are taken from the candidates, in [0, 1].
    """
    size = labels.shape[1], labels.shape[2]
    pairs, num_chosen = len(mask_logits), int(importance * number)
    candidates = draw_points(pairs, int(oversample * number), size, mask_logits)
    certainty = logits_at_points(mask_logits[:, None], candidates, padded_size)[:, 0].abs()
    is_ignored = labels_at_points(labels, image, candidates) == IGNORE_INDEX
    certainty = certainty.masked_fill(is_ignored, torch.inf)
    chosen = certainty.topk(num_chosen, largest=False).indices  # (p, chosen)
    least_certain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    evenly = draw_points(pairs, number - num_chosen, size, mask_logits)
    return torch.cat([least_certain, evenly], dim=1)
