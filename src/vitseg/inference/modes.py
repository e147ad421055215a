"""Running a model over one normalised image: whole, sliding window, several views."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from vitseg.inference.config import InferenceConfig
from vitseg.inference.scores import (
    BandedScores,
    MeanScores,
    MirroredScores,
    OutputScores,
    ResizedScores,
    ScoreMap,
    resized,
)
from vitseg.inference.shelf import Shelf
from vitseg.inference.view_image import MirroredImage, TensorImage, ViewImage
from vitseg.inference.window_scores import Model, slide
from vitseg.types import Size


def image_scores(
    model: Model,
    images: Iterable[ViewImage | Float[Tensor, "1 channels _ _"]],
    config: InferenceConfig,
    size: Size,
) -> ScoreMap:
    """Scores of one image at `size`, by the protocol of `config`.

    With one view these are the model's scores. With several they are the mean of the views' softmaxes, each taken at
    `size` (the papers' multi-scale test). No score map of the whole image is made: views and windows keep what the
    model gave, and rows are computed from it when they are asked for.

    Args:
        model: Normalised images to output.
        images: The image, once at each of `config.scales`.
        config: Mode, window and whether mirrored images are views, too.
        size: (height, width) of the scores.
    """
    if config.mode == "whole" and len(config.scales) == 1 and not config.flip:
        (image,) = images
        return resized(OutputScores(model(_whole(image))), size)
    shelf: Shelf | None = None
    views = list[ScoreMap]()
    for image in images:
        image = TensorImage(image) if isinstance(image, Tensor) else image
        shelf = shelf or Shelf(image.device)
        views.append(_at_size(_one_view(model, image, config, shelf), size))
        if config.flip:
            mirrored = _one_view(model, MirroredImage(image), config, shelf)
            views.append(_at_size(MirroredScores(mirrored), size))
    return views[0] if len(views) == 1 else MeanScores(views)


def _one_view(model: Model, image: ViewImage, config: InferenceConfig, shelf: Shelf) -> ScoreMap:
    if config.mode == "slide":
        assert config.crop_size is not None and config.stride is not None
        return slide(model, image, config.crop_size, config.stride, config.blend, shelf)
    return shelf.put([model(_whole(image)).of_image(0)]).scores[0]


def _at_size(source: ScoreMap, size: Size) -> ScoreMap:
    """A view at the size of all; in bands, since to blend windows takes many small steps for any number of rows."""
    return (
        BandedScores(source) if tuple(source.size) == tuple(size) else ResizedScores(source, size)
    )


def _whole(image: ViewImage | Tensor) -> Float[Tensor, "1 channels _ _"]:
    return image if isinstance(image, Tensor) else image.part(0, 0, image.size)
