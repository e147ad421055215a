"""Where the tokens of an image left a pruned model, and what every head said of it.

Source: DToP (ICCV 2023), figures 3 and 4; thesis figures 5.3, 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Integer

from vitseg.errors import ConfigError
from vitseg.inference.image_source import ImageSource
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import OutputScores, label_map, resized
from vitseg.inference.segmentation import Segmentation
from vitseg.methods.dtop import DtopModel
from vitseg.types import Size


@dataclass(frozen=True)
class ExitStage:
    """What is known behind a head.

    Attributes:
        name: For people: which head.
        label_map: What the model would answer here, at the image's size.
        left: Pixels of the tokens that have left by here, this exit included.
        alive_share: Share of the image's tokens that go on, in [0, 1].
    """

    name: str
    label_map: Integer[np.ndarray, "H W"]
    left: Bool[np.ndarray, "H W"]
    alive_share: float


@dataclass(frozen=True)
class ExitExplanation:
    """An image's segmentation and how it came about, exit by exit.

    Attributes:
        segmentation: The labels, at the image's own size.
        stages: One per exit, then the last head.
    """

    segmentation: Segmentation
    stages: tuple[ExitStage, ...]


def require_exits(predictor: Predictor) -> DtopModel:
    """The model, if tokens can leave it.

    Raises:
        ConfigError: They cannot.
    """
    model = predictor.model
    if not isinstance(model, DtopModel):
        raise ConfigError(f"a model of method {predictor.record.method} has no exits.")
    if model.pruning.never_prunes or model.pruning.is_symmetric:
        raise ConfigError(
            "no token can leave this model early: its pruning.threshold is 1, or its rule asks no head. Let vitseg "
            "tune find a threshold, and explain the model that it writes."
        )
    return model


@torch.inference_mode()
def explain_exits(predictor: Predictor, source: ImageSource) -> ExitExplanation:
    """Run a pruned model on one image, whole and in one view, and keep what happened at each exit.

    Args:
        predictor: A DToP model that prunes.
        source: See `Predictor`.

    Raises:
        ConfigError: No token can leave the model.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    model = require_exits(predictor).eval()
    image = predictor.as_rgb(source)
    size = image.shape[0], image.shape[1]
    images = predictor.model_input(image, predictor.inference.input_size(size))
    output, (exits,) = model.with_exit_map(images)
    blocks = [int(name.removeprefix("exit_")) for name in output.aux]
    numbers = [model.taps.index(block) for block in blocks]  # of the exits that are used
    names = [f"exit behind block {block}" for block in blocks]
    heads = [
        *zip(names, numbers, output.aux.values(), strict=True),
        ("the end", numbers[-1], output),
    ]
    stages = []
    for name, number, head in heads:
        left = exits <= number  # (h, w)
        labels = label_map(resized(OutputScores(head), size))
        pixels = _pixels(left, head.padded_size, head.input_size, size)
        stages.append(ExitStage(name, labels, pixels, 1 - left.float().mean().item()))
    path = Path(source) if isinstance(source, (str, Path)) else None
    labels = stages[-1].label_map
    segmentation = Segmentation(label_map=labels, classes=predictor.classes, image=image, path=path)
    return ExitExplanation(segmentation, tuple(stages))


def _pixels(
    cells: Bool[torch.Tensor, "h w"], padded_size: Size, input_size: Size, size: Size
) -> Bool[np.ndarray, "H W"]:
    """The pixels of some cells, at the image's own size."""
    pixels = F.interpolate(cells[None, None].float(), padded_size, mode="nearest-exact")
    pixels = pixels[..., : input_size[0], : input_size[1]]
    return F.interpolate(pixels, size, mode="nearest-exact")[0, 0].bool().cpu().numpy()
