"""A model that is known by heart: a pixel's label is the corner of the colour cube that is nearest to it.

So every answer shows which image it belongs to.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.methods.linear import LinearProbeConfig

NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
COLORS = np.array([[255 * (index >> bit & 1) for bit in range(3)] for index in range(8)], np.uint8)
CELL = 16
"""Pixels of a side of the squares of one colour; the model's patches."""

CROP = (64, 64)
CLASSES = ClassTable.from_names(NAMES)
PREPROCESSING = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

CONFIG = LinearProbeConfig.model_validate(
    {
        "backbone": {
            "name": "test_vit",
            "pretrained": False,
            "patch_size": CELL,
            "taps": [0],
            "prefix_tokens": "drop",
        },
        "decoder": {"norm": "none"},
    }
)


def write_octants(path: Path, is_mirrored: bool = False) -> Path:
    """A model directory.

    Args:
        path: Of the directory.
        is_mirrored: Whether it gives the opposite corner: 7 - label.
    """
    model = CONFIG.build(8, CROP).eval()
    sign = -1.0 if is_mirrored else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and "qkv" not in name and "fc1" not in name:
                parameter.zero_()  # what a block would add, and positions
        for channel in range(3):  # a token is the mean colour of its patch
            model.get_parameter("backbone.patch_embed.proj.weight")[channel, channel] = CELL**-2
            corners = torch.from_numpy(COLORS[:, channel].astype(np.float32)) / 127.5 - 1
            model.get_parameter("decoder.classifier.weight")[:, channel, 0, 0] = sign * corners
    record = ModelRecord(
        method="linear",
        architecture=CONFIG.model_dump(mode="json"),
        image_size=CROP,
        classes=CLASSES,
        preprocessing=PREPROCESSING,
    )
    save_model(path, model, record)
    return path


def pattern(seed: int, rows: int = 4, columns: int = 4) -> np.ndarray:
    """Labels of cells, as no other seed has them."""
    return np.random.default_rng(seed).integers(0, 8, (rows, columns), dtype=np.uint8)


def large(cells: np.ndarray) -> np.ndarray:
    """Cells as pixels."""
    return cells.repeat(CELL, 0).repeat(CELL, 1)


def picture(labels: np.ndarray) -> Image.Image:
    """An image of the colours of labels."""
    return Image.fromarray(COLORS[labels])


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(cells: np.ndarray) -> bytes:
    return encoded(picture(large(cells)))


def labels_of(content: bytes) -> np.ndarray:
    """Labels of an answer's PNG."""
    return np.array(Image.open(BytesIO(content)))


def cells_of(content: bytes) -> np.ndarray:
    """Labels of an answer's PNG in the middle of every cell."""
    return labels_of(content)[CELL // 2 :: CELL, CELL // 2 :: CELL]
