"""The core of tiled inference: windows of a column block in, bands of labels out, one window row held at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from vitseg.images.pixel_source import PixelSource
from vitseg.images.preprocess import to_tensor
from vitseg.images.window import Window
from vitseg.inference.blending import Blend, window_weights
from vitseg.inference.operations import peak_memory
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import STRIP_ELEMENTS, OutputScores, TensorScores, label_map
from vitseg.inference.tile_plan import Block, TilePlan
from vitseg.runtimes.graph_model import GraphModel
from vitseg.types import Size


def label_bands(
    predictor: Predictor,
    pixels: PixelSource,
    plan: TilePlan,
    block: Block,
    blend: Blend,
    first_row: int = 0,
) -> Iterator[tuple[int, int, Integer[np.ndarray, "R W"]]]:
    """Labels of the columns that a block owns, from `first_row` down, as (top, bottom, (rows, columns) labels).

    The weighted scores are not divided by the weights' sum: it is the same for all classes of a pixel.
    """
    height, width = plan.window
    tops = [top for top in plan.tops if top + height > first_row]
    if not tops:  # all was done before
        return
    weights = window_weights(plan.window, blend).to(predictor.device)
    scores = torch.zeros(
        predictor.classes.num_classes, height, block.width, device=predictor.device
    )
    own = slice(block.owned[0] - block.left, block.owned[1] - block.left)
    for top, below in zip(tops, [*tops[1:], pixels.size[0]], strict=True):
        band = Window(top, block.left, height, block.width)
        image, valid = pixels.read(band), pixels.valid(band)
        columns = (left - block.left for left in block.lefts)
        # No label is asked for where a whole window is without data, as beside a slanted orthophoto.
        needed = (x for x in columns if valid is None or valid[:, x : x + width].any())
        while batch := tuple(islice(needed, plan.batch_size)):
            _add_windows(scores, predictor, image, batch, plan.window, weights)
        closed = below - top
        skipped = max(0, first_row - top)
        if skipped < closed:
            labels = label_map(TensorScores(scores[:, skipped:closed, own]))
            yield top + skipped, below, labels
        _scroll(scores, closed)


@torch.inference_mode()
def _add_windows(
    scores: Tensor,
    predictor: Predictor,
    image: np.ndarray,
    lefts: tuple[int, ...],
    window: Size,
    weights: Tensor,
) -> None:
    """Add the weighted scores of some windows of a band, strip by strip."""
    height, width = window
    images = torch.stack(
        [to_tensor(image[:, x : x + width], predictor.preprocessing) for x in lefts]
    )
    output = predictor.run(images.to(predictor.device))
    step = max(1, STRIP_ELEMENTS // (len(scores) * width))
    for index, x in enumerate(lefts):
        source = OutputScores(output, index)
        for start in range(0, height, step):
            stop = min(start + step, height)
            scores[:, start:stop, x : x + width] += source.rows(start, stop) * weights[start:stop]


def _scroll(scores: Tensor, num_rows: int) -> None:
    """Move rows up; class by class, since the copy that keeps them from overwriting each other is then small."""
    rest = scores.shape[1] - num_rows
    for plane in scores:
        plane[:rest] = plane[num_rows:].clone()
        plane[rest:] = 0


def window_bytes(predictor: Predictor, crop_size: Size, size: Size) -> int:
    """Memory of running one window, measured; half as much again is allowed for what kernels take in passing.

    Of an exported graph what its runtime takes from the system is measured, at its first run of a window.
    """
    window = min(crop_size[0], size[0]), min(crop_size[1], size[1])
    image = np.zeros((*window, predictor.preprocessing.num_channels), dtype=np.uint8)
    scores = torch.zeros(predictor.classes.num_classes, *window, device=predictor.device)
    weights = window_weights(window, "mean").to(predictor.device)

    def run() -> None:
        _add_windows(scores, predictor, image, (0,), window, weights)

    # that of a runtime first: it takes its memory in its first run
    taken = predictor.model.taken_by(run, window) if isinstance(predictor.model, GraphModel) else 0
    return max(taken, peak_memory(run, predictor.device)) * 3 // 2
