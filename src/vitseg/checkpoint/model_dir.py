"""The model directory: all that is needed to predict, evaluate, export or serve a model.

`config.json` holds the architecture, classes, preprocessing and inference protocol together with where the model comes
from; `model.safetensors` the weights; `SHA256SUMS` both files' hashes (`sha256sum -c` reads it), so that a changed or
half-copied model is noticed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file

from vitseg import parsing
from vitseg.checkpoint.formats import FORMAT, renamed_state, require_readable_format
from vitseg.checkpoint.learnt import LearntTask, require_unchanged
from vitseg.checkpoint.places import CONFIG, SUMS, WEIGHTS, find_model_dir, sha256_of, verify
from vitseg.checkpoint.versions import package_versions
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError, ConfigError, first_names, unknown_name
from vitseg.files import system_errors
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size, StateDict

LONGEST_REASON = 300
"""Characters of torch's list of parameters that do not fit; it has one entry per parameter."""


class ModelRecord(BaseModel):
    """What `config.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1, 2] = Field(default=FORMAT, description="see `formats.py`")
    method: str = Field(description="a key of METHODS")
    architecture: dict[str, Any] = Field(description="the method's configuration")
    image_size: Size = Field(description="(height, width) of the training images in pixels")
    classes: ClassTable = Field(description="names and colours, index order")
    preprocessing: Preprocessing = Field(description="normalisation of the input")
    inference: dict[str, Any] = Field(default_factory=dict, description="the inference protocol")
    recipe: dict[str, Any] = Field(default_factory=dict, description="what it was trained with")
    metrics: dict[str, Any] = Field(default_factory=dict, description="what it scored, and on what")
    tasks: tuple[LearntTask, ...] = Field(
        default=(),
        description="what an extended model learnt, one task after the other, with hashes of its parameters",
    )
    license: str | None = Field(
        default=None, description="licence of the weights, where it is known"
    )
    versions: dict[str, str] = Field(
        default_factory=package_versions, description="package versions at saving"
    )


def save_model(
    path: Path, model: SegmentationModel, record: ModelRecord, weights: StateDict | None = None
) -> None:
    """Write a model directory; a model directory of that name is replaced once the new one is complete.

    A folder that holds no model gets the files beside what it holds: it may be the current one, or where a disk is
    mounted, which nobody can put another in the place of.

    Args:
        path: The directory.
        model: What is saved.
        record: What is kept beside its weights.
        weights: Saved in place of the model's own, which a training may hold in another form.
    """
    path = path.resolve()  # "." has no name
    is_within = path.is_dir() and not (path / CONFIG).exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path / ".model.writing" if is_within else path.with_name(f".{path.name}.writing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        _write_files(fresh, model, record, model.state_dict() if weights is None else weights)
    except Exception:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if is_within:
        for name in (WEIGHTS, SUMS, CONFIG):  # with the last one it is a model
            os.replace(fresh / name, path / name)
        fresh.rmdir()
        return
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(fresh, path)
    shutil.rmtree(old, ignore_errors=True)


def _write_files(
    folder: Path, model: SegmentationModel, record: ModelRecord, weights: StateDict
) -> None:
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with system_errors(folder / WEIGHTS):
        save_file(state, folder / WEIGHTS, _remarks(model))
    config, sums = record_files(record, sha256_of(folder / WEIGHTS))
    (folder / CONFIG).write_bytes(config)
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors lets nobody else read
    (folder / SUMS).write_bytes(sums)


def _remarks(model: SegmentationModel) -> dict[str, str]:
    """What the weights' own file says: the grid of the position embeddings, which their number does not.

    One remark at most: safetensors writes several in an order of its own, and equal models are to have equal files.
    """
    from vitseg.backbones import PlainViT  # only where a model is there already
    from vitseg.backbones.weights import grid_remark

    grids = {
        part.grid
        for part in model.modules()
        if isinstance(part, PlainViT) and part.pos_embed is not None
    }
    return grid_remark(*grids) if len(grids) == 1 else {}


def record_files(record: ModelRecord, weights_hash: str) -> tuple[bytes, bytes]:
    """Content of `config.json` and of `SHA256SUMS` for a record and the SHA-256 of the weights."""
    config = (record.model_dump_json(indent=2) + "\n").encode()
    sums = f"{hashlib.sha256(config).hexdigest()}  {CONFIG}\n{weights_hash}  {WEIGHTS}\n"
    return config, sums.encode()


def load_model(path: Path | str) -> tuple[SegmentationModel, ModelRecord]:
    """Read a model, in evaluation mode.

    Args:
        path: A model directory, a run folder (its best model is read) or `hf://user/name`.

    Raises:
        CheckpointError: No model there, a missing or changed file, weights that do not fit, or an extended model whose
            earlier tasks are not what they were.
    """
    from vitseg.backbones.safetensors_files import read_safetensors
    from vitseg.checkpoint.budget import require_shapes

    path = find_model_dir(path)
    record = read_record(path)
    if record.method not in METHODS:
        raise CheckpointError(f"{path / CONFIG}: {unknown_name('method', record.method, METHODS)}")
    try:
        config = parse(METHODS[record.method], record.architecture, "architecture")
        _require_same_channels(config.backbone.channels, record.preprocessing, path)
        state, _ = read_safetensors(path / WEIGHTS)
        if record.format_version != FORMAT:
            state = renamed_state(state, config.old_names, str(path / WEIGHTS))
            record = record.model_copy(update={"format_version": FORMAT})
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        size, complaint = record.image_size, f"{path / WEIGHTS} does not fit its {CONFIG}"
        require_shapes(config, record.classes.num_classes, size, shapes, complaint)
        model = config.build(record.classes.num_classes, size, load_pretrained=False)
    except ConfigError as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    fill(model, state, complaint)
    require_unchanged(record.tasks, state, str(path))
    return model.eval(), record


def _require_same_channels(
    channels: Sequence[str] | None, preprocessing: Preprocessing, path: Path
) -> None:
    """Raise CheckpointError where the backbone has another input than the pictures are read for."""
    of_backbone = 3 if channels is None else len(channels)
    if of_backbone != preprocessing.num_channels:
        raise CheckpointError(
            f"{path / CONFIG} describes a backbone of {of_backbone} channels, but pictures of "
            f"{preprocessing.num_channels}: it was changed by hand, or damaged."
        )


def fill(model: SegmentationModel, state: StateDict, complaint: str) -> None:
    """Load all parameters of a model.

    Raises:
        CheckpointError: The complaint, and what is missing, unknown, of another shape or of integers, in one line.
    """
    from vitseg.backbones.weight_values import wrong_kinds

    integers = wrong_kinds(state, model.state_dict())
    if integers:
        raise CheckpointError(
            f"{complaint}: {first_names(integers)}, where the model has floating-point numbers."
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).partition(":")[2].split())
        short = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
        raise CheckpointError(f"{complaint}: {short}") from error


def read_record(path: Path) -> ModelRecord:
    """The verified `config.json` of a model directory.

    Raises:
        CheckpointError: A file is missing or has changed since it was saved.
    """
    verify(path)
    try:
        raw = parsing.read_json(path / CONFIG, finite=False)
        require_readable_format(raw, str(path / CONFIG))
        return parse(ModelRecord, raw)
    except (ConfigError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / CONFIG} cannot be read: {error}") from error
