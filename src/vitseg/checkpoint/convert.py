"""A foreign checkpoint file to a model and its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitseg.backbones.tensor_files import read_tensors
from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.detect import Dialect, recognise
from vitseg.checkpoint.model_dir import ModelRecord, fill
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.types import StateDict


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a checkpoint of a known kind holds.

    Attributes:
        name: What the user knows it by: the name of its file, or its address.
        dialect: Kind of the checkpoint.
        architecture: The model that it is of.
        state: Parameters in our names.
    """

    name: str
    dialect: Dialect
    architecture: Architecture
    state: StateDict


def read_checkpoint(path: Path, name: str = "") -> ForeignCheckpoint:
    """Read a published checkpoint of one of `DIALECTS`; a pickle is read with `weights_only=True`.

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
        classes: Classes of the model.
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
    config = parse(METHODS[checkpoint.dialect.method], architecture.config, "architecture")
    image_size = (architecture.crop, architecture.crop)
    model = config.build(classes.num_classes, image_size, load_pretrained=False)
    backbone = architecture.config["backbone"]["name"]
    fill(model, checkpoint.state, f"{name} does not fit {checkpoint.dialect.name} ({backbone})")
    record = ModelRecord(
        method=checkpoint.dialect.method,
        architecture=config.model_dump(mode="json"),
        image_size=image_size,
        classes=classes,
        preprocessing=architecture.preprocessing,
        inference=checkpoint.dialect.published.protocol(architecture.crop, dataset),
        metrics={"converted_from": name, **({"trained_on": dataset} if dataset else {})},
        license=checkpoint.dialect.published.license,
    )
    return model.eval(), record
