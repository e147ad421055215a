"""Running a model over one normalised image: whole, sliding window, several views."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jaxtyping import Float
from torch import Tensor

from vitseg.inference.blending import Blend, window_weights
from vitseg.inference.config import InferenceConfig
from vitseg.inference.scores import (
    OutputScores,
    ScoreMap,
    TensorScores,
    full_scores,
    resized,
)
from vitseg.outputs import SegOutput
from vitseg.types import Size

Model = Callable[[Tensor], SegOutput]


def image_scores(
    model: Model, images: Iterable[Float[Tensor, "1 3 _ _"]], config: InferenceConfig, size: Size
) -> ScoreMap:
    """Scores of one image at `size`, by the protocol of `config`.

    With one view these are the model's scores. With several they are the mean of the views' softmaxes, each taken at
    `size` (the papers' multi-scale test).

    Args:
        model: Normalised images to output.
        images: The image as (1, 3, H, W), once at each of `config.scales`.
        config: Mode, window and whether mirrored images are views, too.
        size: (height, width) of the scores.
    """
    if len(config.scales) == 1 and not config.flip:
        (image,) = images
        return resized(_one_view(model, image, config), size)
    total: Tensor | None = None
    num_views = 0
    for scaled in images:
        for flipped in (False, True) if config.flip else (False,):
            view = scaled.flip(3) if flipped else scaled
            probs = full_scores(resized(_one_view(model, view, config), size)).softmax(0)
            probs = probs.flip(2) if flipped else probs
            total = probs if total is None else total.add_(probs)
            num_views += 1
    assert total is not None
    return TensorScores(total / num_views)


def _one_view(model: Model, image: Tensor, config: InferenceConfig) -> ScoreMap:
    if config.mode == "whole":
        return OutputScores(model(image))
    assert config.crop_size is not None and config.stride is not None
    return slide(model, image, config.crop_size, config.stride, config.blend)


def slide(
    model: Model,
    image: Float[Tensor, "1 3 H W"],
    crop_size: Size,
    stride: Size,
    blend: Blend = "mean",
) -> TensorScores:
    """Sum of the windows' weighted scores divided by the sum of the weights at each pixel.

    Windows start at multiples of the stride; the last of a row or column is moved back to the border. An image smaller
    than the window is run as it is.

    Args:
        model: Normalised images to output.
        image: One image.
        crop_size: (height, width) of the window in pixels.
        stride: (down, right) step of the window in pixels.
        blend: Weights of a window's pixels, see `window_weights`; "mean" is the papers' plain average.
    """
    height, width = image.shape[-2:]
    weights = window_weights((min(height, crop_size[0]), min(width, crop_size[1])), blend)
    weights = weights.to(image.device)
    tops = window_starts(height, crop_size[0], stride[0])
    lefts = window_starts(width, crop_size[1], stride[1])
    total: Tensor | None = None
    output: SegOutput | None = None
    for top in tops:
        for left in lefts:
            window = image[..., top : top + crop_size[0], left : left + crop_size[1]]
            output = model(window)
            scores = output.scores()[0]
            if blend != "mean":
                scores = scores * weights
            if total is None:
                total = scores.new_zeros(scores.shape[0], height, width)
            total[:, top : top + scores.shape[1], left : left + scores.shape[2]] += scores
    assert total is not None and output is not None
    # The weights are the product of their middle column and row, where the other factor is 1; so are their sums.
    down = _summed(weights[:, weights.shape[1] // 2], tops, height)
    right = _summed(weights[weights.shape[0] // 2], lefts, width)
    return TensorScores(total.div_(down[:, None] * right[None, :]), output.distribution)


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """First pixel of every window along one axis."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - crop), 0) for index in range(count)]


def _summed(weights: Float[Tensor, " c"], starts: list[int], length: int) -> Float[Tensor, " n"]:
    """Sum of the weights of all windows along one axis."""
    total = weights.new_zeros(length)
    for start in starts:
        total[start : start + len(weights)] += weights
    return total
