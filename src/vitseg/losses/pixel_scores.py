"""Masks and class scores at pixel size, differentiable, for losses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.layers.presence import presence_probs
from vitseg.layers.resize import resize_for_gradients
from vitseg.types import SegOutput, Size


def full_scores(output: SegOutput, size: Size) -> Float[Tensor, "b k H W"]:
    """Class scores Y (see `SegOutput`) at pixel size, padding cut off."""
    if output.readout == "joined":
        return torch.cat([full_scores(part, size) for part in output.parts], dim=1)
    batch_and_queries = output.mask_logits.shape[:2]
    cells, class_logits = output.mask_logits, output.class_logits
    if output.readout == "cell_presence":
        assert class_logits is not None
        cells = presence_probs(cells.float(), class_logits.float())
    masks = upsample_masks(cells.flatten(0, 1), output, size)
    masks = masks.unflatten(0, batch_and_queries)  # (b, q, H, W)
    if output.readout in ("logits", "cell_presence"):
        return masks
    assert class_logits is not None
    if output.readout == "presence":
        return presence_probs(masks, class_logits.float())
    probs = class_logits.float().softmax(-1)
    return torch.einsum("bqk,bqhw->bkhw", probs[..., :-1], masks.sigmoid())


def upsample_masks(
    mask_logits: Float[Tensor, "p h w"], output: SegOutput, size: Size
) -> Float[Tensor, "p H W"]:
    """Mask logits over the padded image, bilinearly at pixel size, padding cut off."""
    masks = resize_for_gradients(mask_logits[:, None].float(), output.padded_size)
    if output.input_size != output.padded_size:  # a slice of everything has a gradient to fill, too
        masks = masks[..., : output.input_size[0], : output.input_size[1]]
    return resize_for_gradients(masks, size).flatten(0, 1)  # (p, H, W)
