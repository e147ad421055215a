"""Learning new classes on top of a trained model, whose parameters stay as they are.

Source: thesis section 4.2.3. The new classes get queries, attention-to-mask stages and a classifier of their own, and
are trained alone on the frozen backbone: the old decoders are not even run. Labels of no new class are negatives.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

from vitseg.checkpoint.learnt import LearntTask
from vitseg.checkpoint.model_dir import ModelRecord, load_model, save_model
from vitseg.checkpoint.versions import package_versions
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.value_survey import deep_images
from vitseg.decoders.atm import AtmConfig
from vitseg.errors import ConfigError, VitsegError
from vitseg.evaluation.evaluate import device_name
from vitseg.evaluation.provenance import content_hash, current_commit
from vitseg.extend.calibration import HeldOut, held_out_scores
from vitseg.extend.guarantee import require_same_scores
from vitseg.extend.new_classes import require_no_rest, require_pixels
from vitseg.extend.new_stages import NewStages, start_part
from vitseg.extend.tasks import as_tasks, require_method, require_new_names, with_bias, with_task
from vitseg.files import write_json, write_whole
from vitseg.images.bands import Bands
from vitseg.inference.predictor import Predictor
from vitseg.launch import is_first_process
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.segvit_cl import SegVitClConfig
from vitseg.runs import BEST, LAST, RESULT, START, TRAINING, read_own, read_result
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.owner import owned
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask


class Extension(NamedTuple):
    """Where an extended model is, and how well it finds its new classes.

    Attributes:
        folder: The model directory.
        held_out: What was measured on held-out images; None without any.
    """

    folder: Path
    held_out: HeldOut | None


def _config_of(record: ModelRecord) -> SegVitConfig | SegVitClConfig:
    """The configuration of a model that can be extended; raises ConfigError for one of another method."""
    require_method(record.method)
    config = METHODS[record.method].model_validate(record.architecture)
    assert isinstance(config, (SegVitConfig, SegVitClConfig))
    return config


def part_config(record: ModelRecord) -> SegVitConfig:
    """The SegViT that learns new classes on a model's backbone: decoders like the first one, two-way classes, masks.

    A model that was trained by the cross-entropy of its pixels stays what it is, but its new classes learn with masks:
    the pixels of no new class have the ignore label, which that cross-entropy leaves out, so nothing would tell new
    classes from all else.

    Raises:
        ConfigError: The model is of another method.
    """
    config = _config_of(record)
    decoder = config.decoder if isinstance(config, SegVitConfig) else config.tasks[0].decoder
    of_bands = record.preprocessing.bands is not None  # which say it for each
    backbone = config.backbone.model_copy(
        update={
            "pretrained": False,
            "weights": None,
            "weights_grid": None,
            "mean": None if of_bands else record.preprocessing.mean,
            "std": None if of_bands else record.preprocessing.std,
        }
    )
    # what starts from random weights is to learn soon
    two_way: AtmConfig = decoder.model_copy(update={"classifier": "presence", "init": "xavier"})
    of_masks = config.loss.model_copy(update={"kind": "masks"})
    return SegVitConfig(backbone=backbone, decoder=two_way, loss=of_masks)


def extend_model(
    model: Path | str,
    train_set: SegmentationDataset,
    out: Path,
    recipe: Recipe,
    *,
    source: str,
    resume: bool = False,
    display: Display | None = None,
    stages: NewStages = "first_task",
    cache_features: Path | None = None,
    val_set: SegmentationDataset | None = None,
    calibrate: bool = False,
    device: str | torch.device = "cpu",
) -> Extension:
    """Teach a model new classes; the model itself stays where and as it is.

    Args:
        model: A SegViT, or a model that was extended before: a model directory, a run folder or `hf://user/name`.
        train_set: Its classes are the new ones, and all other pixels have the ignore label.
        out: Folder of the extension: `best/` is the extended model, `training/` the run of its new part.
        recipe: How the new part is trained, a recipe of method segvit; the backbone is the model's, frozen.
        source: Name of the data set, kept in the model's record.
        resume: Continue an interrupted extension.
        display: Where progress is shown; nothing is shown where not given.
        stages: What the new stages start from, see `vitseg.extend.new_stages.start_part`.
        cache_features: See `vitseg.training.loop.train`.
        val_set: Held-out images, labelled likewise: what the new classes claim there is measured.
        calibrate: Choose the new task's presence bias on the held-out images. The thesis has none.
        device: Where the old and the extended model are compared.

    Returns:
        The extended model, with its scores on held-out images; in other processes than the first of its training these
        are left out, and the model may not be there yet.

    Raises:
        ConfigError: The model cannot be extended, knows a class already, the recipe does not fit it, or another process
            works in the folder.
        DataError: A new class has no pixel, or an image or mask cannot be read.
        CheckpointError: The model cannot be read, or its frozen part is not what it was.
        InterruptedRunError: Ctrl-C or SIGTERM; the old model is untouched, and `resume` continues.
        VitsegError: The old classes' scores would not stay the same.
    """
    if calibrate and val_set is None:
        raise ConfigError("calibration needs held-out images: name a split with --val-split.")
    _require_place(model, out)
    with owned(out):
        return _extend(
            model, train_set, out, recipe, source, resume, display or Display(quiet=True), stages,
            cache_features, val_set, calibrate, device,
        )  # fmt: skip


def _extend(
    model: Path | str,
    train_set: SegmentationDataset,
    out: Path,
    recipe: Recipe,
    source: str,
    resume: bool,
    display: Display,
    stages: NewStages,
    cache_features: Path | None,
    val_set: SegmentationDataset | None,
    calibrate: bool,
    device: str | torch.device,
) -> Extension:
    trained, record = load_model(model)
    old_model, old_record = as_tasks(trained, record)
    recipe = _on_backbone_of(record, recipe)
    require_new_names(record.classes, train_set.classes.names)
    require_no_rest(train_set)
    require_pixels(train_set)
    if _config_of(record).loss.kind != "masks":
        display.started(
            "the model was trained with loss.kind pixels, by which new classes would be told from nothing: they learn "
            "with loss.kind masks"
        )
    train_set = _as_read_by(record, train_set)
    val_set = None if val_set is None else _as_read_by(record, val_set)
    _tell_of_own_values(record, train_set, display)

    def start(part: SegmentationModel) -> None:
        _keep_start(out / START, stages, resume)
        start_part(part, old_model, stages)

    task = TrainingTask(train_set, None, prepare=start, keeps_reading=True, has_negatives=True)
    train(recipe, out / TRAINING, resume, display, cache_features, task)
    if not is_first_process():
        return Extension(out / BEST, None)
    part, part_record = load_model(out / TRAINING / LAST)
    _require_same_backbone(old_model, part)
    told = read_result(out / TRAINING)
    learnt = LearntTask(
        classes=train_set.classes.names,
        learnt_on=date.today(),
        source=source,
        images=len(train_set),
        content_hash=content_hash(train_set),
        iterations=recipe.training.iterations,
        seed=recipe.training.seed,
        minutes=told["training_minutes"],
        tensors={},
    )
    config = SegVitConfig.model_validate(part_record.architecture)
    extended, new_record = with_task(old_model, old_record, part, config, train_set.classes, learnt)
    old, new = Predictor(trained, record, device), Predictor(extended, new_record, device)
    compared = require_same_scores(old, new, train_set)
    new_record = _with_comparison(new_record, compared)
    held_out, told_of_held_out = None, None
    if val_set is not None:
        held_out = held_out_scores(new, val_set, calibrate)
        told_of_held_out = {
            **held_out.to_json(),
            "split": val_set.split,
            "content_hash": content_hash(val_set),
        }
        if calibrate:
            extended, new_record = with_bias(extended, new_record, held_out.bias)
    new_record = new_record.model_copy(update={"metrics": {}})
    save_model(out / BEST, extended, new_record)
    result = {
        **told,
        "new_stages": stages,
        "learnt": new_record.tasks[-1].model_dump(mode="json", exclude={"tensors"}),
        "held_out": told_of_held_out,
        "device": device_name(new.device),
        "versions": package_versions(),
        "commit": current_commit(),
    }
    write_json(out / RESULT, result)
    return Extension(out / BEST, held_out)


def _as_read_by(record: ModelRecord, dataset: SegmentationDataset) -> SegmentationDataset:
    """New data as a model reads images, so that its old classes see what they saw, and the new ones no other.

    Raises:
        ConfigError: The data set states a range of values, and the model has none.
    """
    limits, stated = record.preprocessing.limits, dataset.value_range
    if limits is None and stated is not None:
        raise ConfigError(
            f"{dataset.name} states the value_range {list(stated)}, but the model has none: it reads an "
            "image of more than 8 bits as its file states, else by its own values, and the old classes' scores would "
            "change with another range. Take value_range out of the class file, to read the new images likewise; save "
            "them with 8 bits; or train a new model on them."
        )
    return dataset.with_bands(record.preprocessing.known_bands).with_value_range(limits)


def _tell_of_own_values(
    record: ModelRecord, train_set: SegmentationDataset, display: Display
) -> None:
    """Say how images of more than 8 bits are read by a model that has no range of values."""
    reading = record.preprocessing.reading
    is_open = reading is None or (
        isinstance(reading, Bands) and not all(band.value_range for band in reading.chosen)
    )
    if is_open and deep_images(train_set)[1]:
        display.started(
            "images of more than 8 bits are read as the model reads them, which has no range of values: as each file "
            "states, else by its own values"
        )


def _keep_start(path: Path, stages: NewStages, resume: bool) -> None:
    """Write down what the stages of a new extension start from; refuse to resume it with another start."""
    if not resume:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"new_stages": stages}) + "\n")
        return
    if not path.is_file():
        return  # there is nothing to resume, which is told where the state is read
    begun = read_own(path)["new_stages"]
    if begun != stages:
        flag = "with" if begun == "fresh" else "without"
        raise ConfigError(
            f"this extension began with new stages {begun}, not {stages}: --resume it {flag} --fresh-stages, or begin "
            "another one with another --out."
        )


def _require_place(model: Path | str, out: Path) -> None:
    """Raise ConfigError where the extension would be written over or into the model."""
    source, target = Path(model).resolve(), out.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise ConfigError(
            f"--out {out} and the model {model} lie in each other: give a folder beside it, so that the old model "
            "stays as it is."
        )


WITHOUT_EFFECT = {
    "pretrained", "weights", "weights_grid", "channels", "mean", "std", "drop_path", "gradient_checkpointing",
}  # fmt: skip
"""Fields of a backbone that say where its weights came from, or act in its training alone."""


def _on_backbone_of(record: ModelRecord, recipe: Recipe) -> Recipe:
    """The recipe of a part that stands behind a model, on its backbone and normalisation; ignored pixels are negatives.

    Raises:
        ConfigError: The recipe is of another method or for another backbone, or would train the backbone.
    """
    if not isinstance(recipe.model, SegVitConfig):
        raise ConfigError(
            f"new classes are learnt by method segvit, but this recipe has {recipe.method}."
        )
    backbone = part_config(record).backbone
    theirs = recipe.model.backbone.model_dump()
    for name, value in backbone.model_dump(exclude=WITHOUT_EFFECT).items():
        if theirs.get(name) != value:
            raise ConfigError(
                f"backbone.{name} is {theirs.get(name)}, but the new classes share the model's backbone, where it is "
                f"{value}: leave it out."
            )
    if not recipe.training.freeze_backbone:
        raise ConfigError(
            "training.freeze_backbone must stay true: the old classes read the same backbone."
        )
    # all that is not new has the ignore label here, and is what the new classes are told from
    if recipe.model.loss.kind != "masks":
        raise ConfigError(
            f"loss.kind is {recipe.model.loss.kind}, but new classes learn with masks: all that is not new has the "
            "ignore label, which the cross-entropy of pixels leaves out, so that nothing would tell the new classes "
            "from the old ones. Leave loss.kind out."
        )
    loss = recipe.model.loss.model_copy(update={"ignored": "negatives"})
    model = recipe.model.model_copy(update={"backbone": backbone, "loss": loss})
    limits, wanted = record.preprocessing.limits, recipe.data.value_range
    if wanted not in (None, limits):
        theirs = (
            "which are read as each file states, else by their own values"
            if limits is None
            else f"of which {list(limits)} is black and white"
        )
        raise ConfigError(
            f"data.value_range is {list(wanted)}, but the new classes read the same pixels as the old ones, {theirs}: "
            "leave it out."
        )
    recipe = recipe if limits is None else recipe.with_value_range(limits)
    bands = record.preprocessing.known_bands
    if recipe.data.bands not in (None, bands):
        raise ConfigError("data.bands: the new classes see the bands of the model: leave it out.")
    data = recipe.data.model_copy(update={"bands": bands})
    return recipe.model_copy(update={"model": model, "data": data})


def _require_same_backbone(old: SegmentationModel, part: SegmentationModel) -> None:
    ours, theirs = old.backbone.state_dict(), part.backbone.state_dict()
    changed = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    if changed:
        raise VitsegError(
            f"training has changed the frozen backbone ({changed[0]}), so nothing was written. Please report it."
        )


def _with_comparison(record: ModelRecord, compared: int) -> ModelRecord:
    *before, last = record.tasks
    last = last.model_copy(update={"compared_images": compared})
    return record.model_copy(update={"tasks": (*before, last)})
