"""Running a model over one normalised image: whole, sliding window, several views."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from vitseg.inference.config import InferenceConfig
from vitseg.inference.scores import MeanScores, OutputScores, ScoreMap, View, resized
from vitseg.inference.window_scores import Model, slide
from vitseg.types import Size


def image_scores(
    model: Model, images: Iterable[Float[Tensor, "1 3 _ _"]], config: InferenceConfig, size: Size
) -> ScoreMap:
    """Scores of one image at `size`, by the protocol of `config`.

    With one view these are the model's scores. With several they are the mean of the views' softmaxes, each taken at
    `size` (the papers' multi-scale test). No score map of the whole image is made: views and windows keep what the
    model gave, and rows are computed from it when they are asked for.

    Args:
        model: Normalised images to output.
        images: The image as (1, 3, H, W), once at each of `config.scales`.
        config: Mode, window and whether mirrored images are views, too.
        size: (height, width) of the scores.
    """
    if len(config.scales) == 1 and not config.flip:
        (image,) = images
        return resized(_one_view(model, image, config), size)
    views = []
    for scaled in images:
        for mirrored in (False, True) if config.flip else (False,):
            scores = _one_view(model, scaled.flip(3) if mirrored else scaled, config)
            views.append(View(resized(scores, size), mirrored))
    return MeanScores(views)


def _one_view(model: Model, image: Tensor, config: InferenceConfig) -> ScoreMap:
    if config.mode == "whole":
        return OutputScores(model(image))
    assert config.crop_size is not None and config.stride is not None
    return slide(model, image, config.crop_size, config.stride, config.blend)
