"""A linear classifier that gets rows for new classes, with everything else as the earlier model has it."""

from __future__ import annotations

import math
from typing import Literal

import torch

from vitseg.decoders.linear import LinearDecoder
from vitseg.methods.model import SegmentationModel

NewRows = Literal["fresh", "background"]


def grow(model: SegmentationModel, old: SegmentationModel, new_rows: NewRows) -> None:
    """Give a new model the earlier one's weights and statistics.

    Args:
        model: A model of method `linear` with more classes; its first classes are the earlier model's.
        old: The earlier model.
        new_rows: What rows of new classes start from. "fresh": what the new model has, random weights. "background":
            the background's row, with ln(new classes + 1) taken off its bias and theirs (MiB, equations 10 and 11), so
            that background and new classes share the probability that the earlier model gives the background, and
            those of the earlier classes are unchanged.
    """
    state, own = old.state_dict(), model.state_dict()
    weight, bias = own["decoder.classifier.weight"], own["decoder.classifier.bias"]
    num_old = len(state["decoder.classifier.bias"])
    weight, bias = weight.clone(), bias.clone()
    weight[:num_old] = state["decoder.classifier.weight"]
    bias[:num_old] = state["decoder.classifier.bias"]
    if new_rows == "background":
        weight[num_old:] = weight[0]
        bias[num_old:] = bias[0]
        shared = math.log(len(bias) - num_old + 1)
        bias[num_old:] -= shared
        bias[0] -= shared
    state |= {"decoder.classifier.weight": weight, "decoder.classifier.bias": bias}
    model.load_state_dict(state)


def freeze_all_but_classifier(model: SegmentationModel) -> None:
    """Freeze the backbone, with the norms of a pyramid's levels, and the normalisation in front of the classifier."""
    model.backbone.requires_grad_(False)
    linear_decoder(model).norm.requires_grad_(False)


def linear_decoder(model: SegmentationModel) -> LinearDecoder:
    """The decoder of a model of method `linear`."""
    assert isinstance(model.decoder, LinearDecoder)
    return model.decoder


def num_classes(model: SegmentationModel) -> int:
    """Rows of the classifier, the background's included."""
    weight = linear_decoder(model).classifier.weight
    assert isinstance(weight, torch.Tensor)
    return len(weight)
