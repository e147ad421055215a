"""Where the tokens of an image left a pruned model, and what every head said of it.

Source: DToP (ICCV 2023), figures 3 and 4; thesis figures 5.3, 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Integer, UInt8
from PIL import Image
from torch import Tensor

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import pruning_of
from vitseg.errors import ConfigError
from vitseg.explain.sheet import Sheet
from vitseg.explain.table import require
from vitseg.explain.view import View
from vitseg.features import Features
from vitseg.inference.image_source import ImageSource
from vitseg.inference.precision import precise
from vitseg.inference.predictor import Predictor
from vitseg.inference.segmentation import Segmentation
from vitseg.render.stages import StagePictures, stages_sheet
from vitseg.types import Size

HOW_TO_READ = (
    "The model judges its tokens at every exit. Those that it is sure of leave: they are bright, and keep the masks "
    "that they had there. The dark ones go on. Below are the labels that the model would give at that point; the "
    "classes are judged anew by every head, so the labels of what has left may still change."
)


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

    @property
    def left_at(self) -> UInt8[np.ndarray, "H W"]:
        """Where in `stages` the exit stands at which the token of each pixel left; that of the last head: it stayed."""
        *exits, end = self.stages
        left_at = np.full(end.left.shape, len(exits), dtype=np.uint8)
        for number, stage in reversed(list(enumerate(exits))):
            left_at[stage.left] = number
        return left_at


def explain(predictor: Predictor, image: ImageSource) -> Sheet:
    """Run a pruned model on one image and draw where its tokens left; see `read_exits`."""
    return Sheet(draw_exits(read_exits(predictor, image)), HOW_TO_READ)


@torch.inference_mode()
def read_exits(predictor: Predictor, image: ImageSource) -> ExitExplanation:
    """Run a pruned model on one image, whole and in one view, and keep what happened at each exit.

    Args:
        predictor: A DToP model that prunes.
        image: See `Predictor`.

    Raises:
        ConfigError: No token can leave the model.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    vit = _require_pruning(predictor)
    view = View.of(predictor, image)
    model = predictor.network.eval()
    with precise(predictor.device, predictor.dtype):
        features: Features = model.backbone(view.images)
        last = model.decoder(features)
    taps = vit.config.taps
    (exits,) = exit_map(features, taps)
    blocks = [arrived.block for arrived in features.exits]  # of the exits that are used
    numbers = [taps.index(block) for block in blocks]
    heads = [
        *zip(blocks, numbers, features.stages, strict=True),
        (None, numbers[-1], last),
    ]
    stages = []
    for block, number, output in heads:
        left = exits <= number  # (h, w)
        stages.append(
            ExitStage(
                "the end" if block is None else f"exit behind block {block}",
                view.labels(output),
                _pixels(left, output.padded_size, output.input_size, view.size),
                1 - left.float().mean().item(),
            )
        )
    return ExitExplanation(view.segmentation(stages[-1].label_map), tuple(stages))


def exit_map(features: Features, taps: Sequence[int]) -> Int[Tensor, "b h w"]:
    """The exit at which the token of each cell left, from 0; the number of exits where it stayed to the end.

    Args:
        features: What a pruned backbone gave.
        taps: The backbone's: the blocks of all its exits, used or not, and then the last one.
    """
    alive = features.alive
    batch, (height, width) = len(alive.tokens.lengths), alive.cover.grid
    arrived = [(taps.index(reached.block), reached.cells) for reached in features.exits]
    arrived.append((len(taps) - 1, alive.tokens.rows(height * width)))
    exits = alive.tokens.cells.new_zeros(batch * height * width)
    for number, cells in arrived:  # whoever arrived here did not leave before
        exits[cells] = number
    return exits.view(batch, height, width)


def draw_exits(explanation: ExitExplanation) -> Image.Image:
    """The sheet of one image."""
    found, (*_, end) = explanation.segmentation, explanation.stages
    columns = [
        StagePictures(
            title=stage.name,
            note=f"{stage.alive_share:.0%} of the tokens {'stayed' if stage is end else 'go on'}",
            settled=stage.left,
            overlay=replace(found, label_map=stage.label_map).overlay(legend=False),
        )
        for stage in explanation.stages
    ]
    return stages_sheet(found.image, columns)


def can_leave(predictor: Predictor) -> bool:
    """Whether tokens can leave a model whose method has exits, as its rule is set."""
    return pruning_of(cast(PlainViT, predictor.network.backbone)).can_prune


def _require_pruning(predictor: Predictor) -> PlainViT:
    """The backbone of a model that tokens can leave.

    Raises:
        ConfigError: They cannot.
    """
    require(predictor, "exits")
    if not can_leave(predictor):
        raise ConfigError(
            "no token can leave this model early: its pruning.threshold is 1, or its rule asks no head. Let vitseg "
            "tune find a threshold, and explain the model that it writes."
        )
    return cast(PlainViT, predictor.network.backbone)


def _pixels(
    cells: Bool[Tensor, "h w"], padded_size: Size, input_size: Size, size: Size
) -> Bool[np.ndarray, "H W"]:
    """The pixels of some cells, at the image's own size."""
    pixels = F.interpolate(cells[None, None].float(), padded_size, mode="nearest-exact")
    pixels = pixels[..., : input_size[0], : input_size[1]]
    return F.interpolate(pixels, size, mode="nearest-exact")[0, 0].bool().cpu().numpy()
