"""Starting a training from a trained model instead of a pretrained backbone."""

from __future__ import annotations

from pathlib import Path

from vitseg.backbones import PlainViT
from vitseg.checkpoint.model_dir import fill, load_model
from vitseg.classes import ClassTable
from vitseg.decoders.query_upsampling import QueryUpsampling
from vitseg.errors import ConfigError, first_names
from vitseg.methods.model import SegmentationModel


def start_from(
    path: Path | str, model: SegmentationModel, method: str, classes: ClassTable
) -> str | None:
    """Load a trained model's weights into one of the same method, classes and parts.

    What belongs to the cells of a token grid (position embeddings, learned queries) is resampled from the grid of the
    trained model's images to that of the other's.

    Args:
        path: A model directory, a run folder (its best model is read) or `hf://user/name`.
        model: What is to be trained.
        method: A key of METHODS.
        classes: Classes of the data set.

    Returns:
        A warning that names the parameters that the trained model lacks, which start afresh; None where it has all.

    Raises:
        CheckpointError: There is no model, or it holds what the other has no place for.
        ConfigError: It is of another method, or of other classes.
    """
    trained, record = load_model(path)
    if record.method != method:
        raise ConfigError(
            f"training.init_from {path} is a model of method {record.method}, but this recipe trains {method}: give a "
            "model of the same method."
        )
    if record.classes.names != classes.names:
        raise ConfigError(
            f"training.init_from {path} knows the classes {', '.join(record.classes.names)}, but the data set has "
            f"{', '.join(classes.names)}: give a model of the same classes, in the same order."
        )
    _to_grids_of(model, trained)
    state = trained.state_dict()
    fresh = {name: value for name, value in model.state_dict().items() if name not in state}
    fill(model, {**state, **fresh}, f"training.init_from {path} does not fit the recipe")
    if not fresh:
        return None
    return f"training.init_from {path} lacks {first_names(list(fresh))}: they start afresh."


def _to_grids_of(model: SegmentationModel, trained: SegmentationModel) -> None:
    """Resample what a trained model stores for a token grid to the grids of another model."""
    others = dict(model.named_modules())
    for name, part in trained.named_modules():
        other = others.get(name)
        for kind in (PlainViT, QueryUpsampling):
            if isinstance(part, kind) and isinstance(other, kind):
                part.store_grid(other.grid)
