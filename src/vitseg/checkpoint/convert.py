"""A foreign checkpoint file to a model and its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitseg.backbones.tensor_files import read_weight_file
from vitseg.backbones.wrappers import Unwrapped, WeightsOf
from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.budget import require_shapes
from vitseg.checkpoint.detect import Dialect, recognised
from vitseg.checkpoint.file_facts import FileFacts, read_facts
from vitseg.checkpoint.model_dir import ModelRecord, fill
from vitseg.checkpoint.plain_vits import stated_grid
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size, StateDict


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a checkpoint of a known kind holds.

    Attributes:
        name: What the user knows it by: the name of its file, or its address.
        dialect: Kind of the checkpoint.
        architecture: The model that it is of.
        state: Parameters in our names.
        facts: What the file says of its classes and its licence.
        taken: Which of its weights were taken, in one line; "" where it has one set as it is.
        grid_source: Who says the grid of its position embeddings; "" where it has none.
    """

    name: str
    dialect: Dialect
    architecture: Architecture
    state: StateDict
    facts: FileFacts
    taken: str
    grid_source: str


def read_checkpoint(
    path: Path, name: str = "", weights_of: WeightsOf | None = None, grid: Size | None = None
) -> ForeignCheckpoint:
    """Read a checkpoint of one of `DIALECTS`; a pickle is read with `weights_only=True`.

    Args:
        path: The file.
        name: What the user knows it by, if not by the name of the file.
        weights_of: Which of several sets of weights in it.
        grid: (height, width) of the token grid of its position embeddings; square where not given.

    Raises:
        CheckpointError: The file is damaged or wants to run code, is of another method or of an architecture that was
            never published, or holds more than it; it has no such weights; or its grid is another one, or not known.
    """
    file = read_weight_file(path, weights_of)
    try:
        dialect, state, frame = recognised(file.weights.tensors)
        if grid is not None and not dialect.has_grid:
            raise CheckpointError(
                f"--grid is {grid[0]},{grid[1]}, but {dialect.name} stores no position embeddings: leave it out."
            )
        facts = read_facts(file.content, path)
        grid_source = "as --grid says" if grid else ""
        if dialect.has_grid and grid is None:
            grid = stated_grid(state, facts.config.sizes)
            grid_source = (
                "as the file's own configuration says"
                if grid
                else "assumed to be a square, since nothing in the file says it: --grid gives another"
            )
        architecture = dialect.architecture(state, **({"grid": grid} if grid else {}))
        return ForeignCheckpoint(
            name or path.name,
            dialect,
            architecture,
            dialect.convert(state),
            facts,
            _taken(file.weights, state, frame),
            grid_source,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{name or path}: {error}") from error


def _taken(weights: Unwrapped, state: StateDict, frame: str) -> str:
    """Which weights were taken, and in which precision they are, where that is worth a line."""
    half = {value.dtype for value in state.values() if value.is_floating_point()}
    short = ", ".join(sorted(str(each).removeprefix("torch.") for each in half - {torch.float32}))
    without = f"without {frame}" if frame else ""
    parts = [weights.line, without, f"{short} made float32" if short else ""]
    return "; ".join(part for part in parts if part)


def convert_checkpoint(
    checkpoint: ForeignCheckpoint,
    classes: ClassTable,
    dataset: str | None = None,
    license_text: str | None = None,
) -> tuple[SegmentationModel, ModelRecord]:
    """The model of a checkpoint, in evaluation mode, and its record.

    Args:
        checkpoint: What was read.
        classes: Classes of the model.
        dataset: Name of the published data set that it was trained on, whose inference protocol it gets.
        license_text: Licence of its weights; what the file says where not given. No name of a method states one.

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
    backbone = architecture.config["backbone"]["name"]
    complaint = f"{name} does not fit {checkpoint.dialect.name} ({backbone})"
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    require_shapes(config, classes.num_classes, architecture.image_size, shapes, complaint)
    model = config.build(classes.num_classes, architecture.image_size, load_pretrained=False)
    fill(model, checkpoint.state, complaint)
    record = ModelRecord(
        method=checkpoint.dialect.method,
        architecture=config.model_dump(mode="json"),
        image_size=architecture.image_size,
        classes=classes,
        preprocessing=architecture.preprocessing,
        inference=_protocol(checkpoint, dataset),
        metrics={"converted_from": name, **({"trained_on": dataset} if dataset else {})},
        license=license_text or checkpoint.facts.license,
    )
    return model.eval(), record


def _protocol(checkpoint: ForeignCheckpoint, dataset: str | None) -> dict[str, Any]:
    """The inference protocol: what the file's configuration says of the window, else that of the published models.

    Windows of crops that are not square are two thirds apart in both directions.
    """
    height, width = checkpoint.architecture.image_size
    protocol = checkpoint.dialect.published.protocol(checkpoint.architecture.crop, dataset)
    if height != width and protocol["mode"] == "slide":
        stride = (max(1, 2 * height // 3), max(1, 2 * width // 3))
        protocol |= {"crop_size": (height, width), "stride": stride}
    window = checkpoint.facts.config.window
    if window is None:
        return protocol
    protocol = {k: v for k, v in protocol.items() if k not in ("crop_size", "stride")}
    protocol |= {k: v for k, v in window._asdict().items() if v is not None}
    return protocol
