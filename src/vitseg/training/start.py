"""Starting a training from a trained model instead of a pretrained backbone."""

from __future__ import annotations

from pathlib import Path

from vitseg.backbones import PlainViT
from vitseg.checkpoint.model_dir import fill, load_model
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.decoders.query_upsampling import QueryUpsampling
from vitseg.errors import ConfigError, first_names
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import METHODS
from vitseg.methods.method import MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.training.agreement import compare_architectures, require_same_pixels


def start_from(
    path: Path | str,
    model: SegmentationModel,
    method: str,
    classes: ClassTable,
    *,
    config: MethodConfig,
    preprocessing: Preprocessing,
) -> str | None:
    """Load a trained model's weights into one of the same method, classes and parts.

    What belongs to the cells of a token grid (position embeddings, learned queries) is resampled from the grid of the
    trained model's images to that of the other's.

    Args:
        path: A model directory, a run folder (its best model is read) or `hf://user/name`.
        model: What is to be trained.
        method: A key of METHODS.
        classes: Classes of the data set.
        config: The configuration of `model`.
        preprocessing: How the training normalises images.

    Returns:
        A warning that names the parameters that the trained model lacks, which start afresh, and the fields in which it
        differs and may; None where there are none.

    Raises:
        CheckpointError: There is no model, or it holds what the other has no place for.
        ConfigError: It is of another method, of other classes, sees other pixels, or computes otherwise.
    """
    place = f"training.init_from {path}"
    trained, record = load_model(path)
    if record.method != method:
        raise ConfigError(
            f"{place} is a model of method {record.method}, but this recipe trains {method}: give a "
            "model of the same method."
        )
    if record.classes.names != classes.names:
        raise ConfigError(
            f"{place} knows the classes {', '.join(record.classes.names)}, but the data set has "
            f"{', '.join(classes.names)}: give a model of the same classes, in the same order."
        )
    require_same_pixels(place, record.preprocessing, preprocessing)
    _to_grids_of(model, trained)
    state = trained.state_dict()
    fresh = {name: value for name, value in model.state_dict().items() if name not in state}
    fill(model, {**state, **fresh}, f"{place} does not fit the recipe")
    theirs = parse(METHODS[method], record.architecture, "architecture")
    differs = compare_architectures(place, (theirs, trained), (config, model))
    lacks = f"{place} lacks {first_names(list(fresh))}: they start afresh." if fresh else None
    return " ".join(told for told in (lacks, differs) if told) or None


def _to_grids_of(model: SegmentationModel, trained: SegmentationModel) -> None:
    """Resample what a trained model stores for a token grid to the grids of another model."""
    others = dict(model.named_modules())
    for name, part in trained.named_modules():
        other = others.get(name)
        for kind in (PlainViT, QueryUpsampling):
            if isinstance(part, kind) and isinstance(other, kind):
                part.store_grid(other.grid)
