"""What the networks of NRD's cells read of an image, and what they make of it.

Source: thesis figure 3.8 (NRD, NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from vitseg.decoders.nrd import RESULT_STRIDE, NrdDecoder
from vitseg.explain.sheet import Sheet
from vitseg.explain.table import require
from vitseg.explain.view import View
from vitseg.inference.image_source import ImageSource
from vitseg.inference.predictor import Predictor
from vitseg.inference.segmentation import Segmentation
from vitseg.render.cells import CellPicture, cells_sheet
from vitseg.types import Size

HOW_TO_READ = (
    "Every square between white lines has a small network of its own, whose parameters the model generates from what "
    "it sees there and around. For each pixel the network reads the guidance, made of the fine features of the "
    "backbone (here its three main directions, as red, green and blue), and where in the square the pixel is "
    "(red: to the right, green: down), and answers with the scores of the classes."
)


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
    guidance: Float32[np.ndarray, "h w 3"] | None
    coordinates: Float32[np.ndarray, "h w 3"] | None
    cell: int
    input_size: Size
    padded_size: Size


def explain(predictor: Predictor, image: ImageSource) -> Sheet:
    """Run an NRD model on one image and draw its cells and what they read; see `read_cells`."""
    return Sheet(draw_cells(read_cells(predictor, image)), HOW_TO_READ)


@torch.inference_mode()
def read_cells(predictor: Predictor, image: ImageSource) -> CellExplanation:
    """Run an NRD model on one image, whole and in one view, and keep what its cells read.

    Args:
        predictor: An NRD model.
        image: See `Predictor`.

    Raises:
        ConfigError: The model is no NRD.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    require(predictor, "cells")
    view = View.of(predictor, image)
    model = predictor.network.eval()
    decoder = cast(NrdDecoder, model.decoder)
    features = model.backbone(view.images)
    output = decoder(features)
    inputs = decoder.cell_inputs(features)
    return CellExplanation(
        view.segmentation(view.labels(output)),
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


def draw_cells(explanation: CellExplanation) -> Image.Image:
    """The sheet of one image."""
    found = explanation.segmentation
    pictures = [CellPicture("image", found.image)]
    if explanation.guidance is not None:
        guidance = _on_image(explanation.guidance, explanation)
        pictures.append(CellPicture("guidance", guidance))
    if explanation.coordinates is not None:
        coordinates = _on_image(explanation.coordinates, explanation)
        pictures.append(CellPicture("coordinates", coordinates, is_smooth=False))
    pictures.append(CellPicture("labels", np.asarray(found.overlay(legend=False))))
    return cells_sheet(pictures, explanation.input_size, explanation.cell)


def _on_image(
    colors: Float32[np.ndarray, "h w 3"], explanation: CellExplanation
) -> UInt8[np.ndarray, "_ _ 3"]:
    """What of a map over the padded image lies on the image, as RGB."""
    (height, width), covered = explanation.input_size, explanation.padded_size
    rows = round(height * colors.shape[0] / covered[0])
    columns = round(width * colors.shape[1] / covered[1])
    return np.rint(255 * colors[: max(1, rows), : max(1, columns)]).astype(np.uint8)
