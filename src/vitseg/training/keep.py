"""What a run leaves in its folder: the best and the last model, and the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.evaluation.evaluate import Evaluation
from vitseg.files import write_json
from vitseg.methods.model import SegmentationModel
from vitseg.runs import BEST, LAST, RESULT
from vitseg.training.lora import merged
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import RunParts


def record_of(recipe: Recipe, data: RunData, metrics: dict[str, Any]) -> ModelRecord:
    """What is kept beside the weights of a run's model.

    Args:
        recipe: The run.
        data: The data of the run.
        metrics: Scores by name.
    """
    public = recipe.without_paths()
    return ModelRecord(
        method=public.method,
        architecture=public.model.model_dump(mode="json"),
        image_size=public.data.augment.crop_size,
        classes=data.train_set.classes,
        preprocessing=data.preprocessing,
        inference=public.inference.model_dump(mode="json"),
        recipe=public.to_mapping(),
        metrics=metrics,
    )


def keep_models(
    out: Path,
    recipe: Recipe,
    data: RunData,
    parts: RunParts,
    model: SegmentationModel,
    result: Evaluation | None,
    is_best: bool,
    is_over: bool,
) -> None:
    """Save the last model, and as the best one if it is; when the run is over its result, too.

    Args:
        out: Folder of the run.
        recipe: The run.
        data: The data of the run.
        parts: How far it is.
        model: The whole model.
        result: The validation; None: there is none.
        is_best: Whether no model was better.
        is_over: Whether the run ends here.
    """
    progress = parts.progress
    metrics: dict[str, Any] = {"iteration": progress.iteration}
    if result is not None:
        metrics |= result.to_json()
    record = record_of(recipe, data, metrics)
    weights = merged(model.state_dict(), model)
    save_model(out / LAST, model, record, weights)
    if is_best:
        save_model(out / BEST, model, record, weights)
    if is_over:
        write_json(out / RESULT, _result(recipe, parts, metrics))


def keep_last(
    out: Path, recipe: Recipe, data: RunData, parts: RunParts, model: SegmentationModel
) -> None:
    """Save the last model without a validation, of a run that is stopped; arguments as for `keep_models`."""
    record = record_of(recipe, data, {"iteration": parts.progress.iteration})
    save_model(out / LAST, model, record, merged(model.state_dict(), model))


def _result(recipe: Recipe, parts: RunParts, metrics: dict[str, Any]) -> dict[str, Any]:
    config, cache, progress = recipe.training, parts.cache, parts.progress
    waiting = progress.waiting_share
    stopped_early = progress.iteration < config.iterations
    return {
        "recipe": recipe.without_paths().to_mapping(),
        "seed": config.seed,
        "iterations": config.iterations,
        "stopped_early_at": progress.iteration if stopped_early else None,
        "training_minutes": round(progress.minutes, 1),
        "waiting": None if waiting is None else round(waiting, 4),
        "feature_minutes": None if cache is None else round(cache.minutes, 1),
        "best_miou": progress.best_miou,
        "final": metrics,
    }
