"""A foreign checkpoint file to a model and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vitseg.backbones.tensor_files import read_tensors
from vitseg.checkpoint.detect import Dialect, recognise
from vitseg.checkpoint.model_dir import ModelRecord, fill
from vitseg.checkpoint.segvit_reference import Architecture
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS, SegmentationModel

STRIDES = {640: 608, 512: 341, 480: 320}
"""Stride of the published sliding window, by crop (pixels); two thirds of any other crop."""

RESIZES: dict[str, dict[str, Any]] = {
    "cityscapes": {"resize": (2048, 1024)},  # the images' own size
    "coco_stuff_10k": {"resize": (2048, 512), "min_short": 512},
    "pascal_context_59": {"resize": (520, 520), "min_short": 480},
    "pascal_context_60": {"resize": (520, 520), "min_short": 480},
}
"""Fields of the published inference protocols, by data set; any other has ADE20K's, (2048, crop)."""

SEGVIT_LICENSE = (
    "SegViT's published weights: non-commercial use only (licence of the SegViT repository)"
)


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a checkpoint of a known kind holds.

    Attributes:
        name: What the user knows it by: the name of its file, or its address.
        dialect: Its kind.
        architecture: The model that it is of.
        state: Its parameters in our names.
    """

    name: str
    dialect: Dialect
    architecture: Architecture
    state: Mapping[str, Tensor]


def read_checkpoint(path: Path, name: str = "") -> ForeignCheckpoint:
    """Read a published SegViT or Shrunk checkpoint; a pickle is read with `weights_only=True`.

    Args:
        path: The file.
        name: What the user knows it by, if not by the name of the file.

    Raises:
        CheckpointError: The file is damaged or wants to run code, is of another method or of an architecture that was
            never published, or holds more than it.
    """
    state = read_tensors(path)
    try:
        dialect = recognise(state)
        return ForeignCheckpoint(
            name or path.name, dialect, dialect.architecture(state), dialect.convert(state)
        )
    except CheckpointError as error:
        raise CheckpointError(f"{name or path}: {error}") from error


def convert_checkpoint(
    checkpoint: ForeignCheckpoint, classes: ClassTable, dataset: str | None = None
) -> tuple[SegmentationModel, ModelRecord]:
    """The model of a checkpoint, in evaluation mode, and its record.

    Args:
        checkpoint: What was read.
        classes: Its classes.
        dataset: Name of the published data set that it was trained on, whose inference protocol it gets.

    Raises:
        CheckpointError: The number of classes differs, or a parameter is missing or of another shape.
    """
    name, architecture = checkpoint.name, checkpoint.architecture
    if classes.num_classes != architecture.num_classes:
        raise CheckpointError(
            f"{name} has {architecture.num_classes} classes, but the class list has {classes.num_classes}: give the "
            "list of the data set that it was trained on."
        )
    method = METHODS[checkpoint.dialect.method]
    config = parse(method.config, architecture.config, "architecture")
    image_size = (architecture.crop, architecture.crop)
    model = method.build(config, classes.num_classes, image_size, load_pretrained=False)
    backbone = architecture.config["backbone"]["name"]
    fill(model, checkpoint.state, f"{name} does not fit {checkpoint.dialect.name} ({backbone})")
    record = ModelRecord(
        method=checkpoint.dialect.method,
        architecture=config.model_dump(mode="json"),
        image_size=image_size,
        classes=classes,
        preprocessing=architecture.preprocessing,
        inference=published_protocol(architecture.crop, dataset),
        metrics={"converted_from": name, **({"trained_on": dataset} if dataset else {})},
        license=SEGVIT_LICENSE,
    )
    return model.eval(), record


def published_protocol(crop: int, dataset: str | None) -> dict[str, Any]:
    """The inference protocol of a published model.

    Args:
        crop: Side of its crops in pixels.
        dataset: Name of the data set that it was trained on, if that is a published one.
    """
    stride = STRIDES.get(crop, max(1, 2 * crop // 3))
    return {
        "mode": "slide",
        "crop_size": (crop, crop),
        "stride": (stride, stride),
        **RESIZES.get(dataset or "", {"resize": (2048, crop)}),
    }
