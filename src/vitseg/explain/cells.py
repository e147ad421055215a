"""What the networks of NRD's cells read of an image, and what they make of it.

Source: thesis figure 3.8 (NRD, NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from vitseg.decoders.nrd import RESULT_STRIDE, NrdDecoder
from vitseg.errors import ConfigError
from vitseg.inference.predictor import ImageSource, Predictor, as_rgb
from vitseg.inference.scores import OutputScores, label_map, resized
from vitseg.inference.segmentation import Segmentation
from vitseg.types import Size


@dataclass(frozen=True)
class CellExplanation:
    """An image's segmentation and the inputs of the cells' networks, over the padded image.

    Attributes:
        segmentation: The labels, at the image's own size.
        guidance: The three main directions of the guidance map as red, green and blue, in [0, 1]; None if it has none.
        coordinates: x as red and y as green, in [0, 1]; None if the model does not use them.
        cell: Side of a cell, in pixels of the input.
        input_size: (height, width) at which the image was run.
        padded_size: What guidance and coordinates cover; padding is below and on the right.
    """

    segmentation: Segmentation
    guidance: Float32[ndarray, "h w 3"] | None
    coordinates: Float32[ndarray, "h w 3"] | None
    cell: int
    input_size: Size
    padded_size: Size


def require_cells(predictor: Predictor) -> NrdDecoder:
    """The decoder, if it works cell by cell.

    Raises:
        ConfigError: It does not.
    """
    decoder = predictor.model.decoder
    if not isinstance(decoder, NrdDecoder):
        raise ConfigError(f"a model of method {predictor.record.method} has no cells.")
    return decoder


@torch.inference_mode()
def explain_cells(predictor: Predictor, source: ImageSource) -> CellExplanation:
    """Run an NRD model on one image, whole and in one view, and keep what its cells read.

    Args:
        predictor: An NRD model.
        source: See `Predictor`.

    Raises:
        ConfigError: The model is no NRD.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    decoder = require_cells(predictor)
    image = as_rgb(source)
    size = image.shape[0], image.shape[1]
    images = predictor.model_input(image, predictor.inference.input_size(size))
    model = predictor.model.eval()
    features = model.backbone(images)
    output = decoder(features)
    labels = label_map(resized(OutputScores(output), size))
    inputs = decoder.cell_inputs(features)
    path = Path(source) if isinstance(source, (str, Path)) else None
    return CellExplanation(
        Segmentation(label_map=labels, classes=predictor.classes, image=image, path=path),
        None if inputs.guidance is None else main_directions(inputs.guidance[0]).cpu().numpy(),
        None if inputs.coordinates is None else _as_colors(inputs.coordinates[0]).cpu().numpy(),
        decoder.cell_side * RESULT_STRIDE,
        output.input_size,
        output.padded_size,
    )


def main_directions(x: Float[Tensor, "c h w"]) -> Float[Tensor, "h w 3"]:
    """The three directions in which the cells of a map differ most, each spread over [0, 1]."""
    cells = x.float().flatten(1).T  # (h*w, c)
    cells = cells - cells.mean(0)
    _, _, directions = torch.linalg.svd(cells.T @ cells)  # (c, c), by descending variance
    found = cells @ directions[:3].T  # (h*w, up to 3)
    low, high = found.amin(0), found.amax(0)
    found = (found - low) / (high - low).clamp(min=1e-12)
    colors = found.new_full((len(found), 3), 0.5)
    colors[:, : found.shape[1]] = found
    return colors.unflatten(0, x.shape[1:])


def _as_colors(coordinates: Float[Tensor, "2 h w"]) -> Float[Tensor, "h w 3"]:
    blue = torch.zeros_like(coordinates[:1])
    return torch.cat([coordinates, blue]).permute(1, 2, 0).float()
