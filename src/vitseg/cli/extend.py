"""`vitseg extend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitseg.cli import frame, options
from vitseg.launch import is_first_process

if TYPE_CHECKING:
    from vitseg.checkpoint.model_dir import ModelRecord
    from vitseg.extend.extend import Extension

ITERATIONS = 1000


def extend(
    model: options.Model,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="section.field=value of the training, as in training.iterations=500"),
    ] = None,
    *,
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder of the extended model.")],
    classes: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="New classes; where not given, all that the model does not know, but for a background.",
        ),
    ] = "",
    split: Annotated[
        str | None,
        typer.Option(help="Split to learn from; else train, or all images of data without splits."),
    ] = None,
    val_split: Annotated[
        str | None,
        typer.Option(help="Split to measure the new classes on; val where the data set has one."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Choose on the held-out split how readily the new classes claim pixels.",
        ),
    ] = False,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels",
            help="Random scales, crops and colours in every pass: no features are kept, which takes far longer.",
        ),
    ] = False,
    fresh_stages: Annotated[
        bool,
        typer.Option(
            "--fresh-stages",
            help="Begin the new stages with random weights instead of a copy of the first task's.",
        ),
    ] = False,
    cache_features: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where features are kept; within --out where not given."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted extension exactly.")
    ] = False,
    device: options.Device = "auto",
) -> None:
    """Add classes to a trained SegViT without forgetting: old classes are scored as before, in every bit.

    The new data label the new classes; everything else counts as none of them. Old data are not needed, and the old
    model stays as it is. Ctrl-C saves; --resume continues.
    """
    from vitseg.checkpoint.places import find_model_dir
    from vitseg.claims import claim_folder
    from vitseg.cli.default_split import training_split
    from vitseg.data.catalog import list_splits, open_dataset
    from vitseg.data.splits import usual_split

    claim_folder(out, may_hold=None)
    if cache_features is not None:
        claim_folder(cache_features, may_hold=None, option="--cache-features")
    split = split or training_split(data)
    train_set = open_dataset(data, split)
    own = usual_split("val", list_splits(data))
    if val_split is None and own != train_set.split:
        val_split = own
    held_out = None if val_split is None else open_dataset(data, val_split)

    from vitseg.checkpoint.model_dir import read_record
    from vitseg.extend.extend import extend_model
    from vitseg.extend.new_classes import announcement, chosen_classes, only
    from vitseg.extend.tasks import require_method
    from vitseg.inference.predictor import choose_device
    from vitseg.training.display import Display

    chosen = choose_device(device)
    record = read_record(find_model_dir(model))
    require_method(record.method)
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    names = chosen_classes(train_set, record.classes, wanted)
    if is_first_process():
        typer.echo(announcement(train_set, record.classes, names, data))
    val_set = None if held_out is None else only(held_out, names)
    recipe = recipe_of(record, data, split, pixels, overrides or [])
    if cache_features is None and not pixels:
        cache_features = out / "features"
    extension = extend_model(
        model,
        only(train_set, names),
        out,
        recipe,
        source=data.partition(":")[0],
        resume=resume,
        display=Display(),
        stages="fresh" if fresh_stages else "first_task",
        cache_features=cache_features,
        val_set=val_set,
        calibrate=calibrate,
        device=chosen,
    )
    if is_first_process():
        tell(extension, names)


def recipe_of(
    record: ModelRecord,
    data: str,
    split: str,
    pixels: bool,
    overrides: list[str],
):
    """The recipe by which the new part is trained.

    Args:
        record: Record of the model that is extended.
        data: NAME:ROOT.
        split: Split to learn from.
        pixels: Random crops instead of fixed views.
        overrides: `section.field=value` each.
    """
    from vitseg.config import apply_overrides
    from vitseg.extend.extend import part_config
    from vitseg.inference.config import InferenceConfig
    from vitseg.training.recipe import parse_recipe

    inference = InferenceConfig.model_validate(record.inference)
    size = list(record.image_size)
    base = None if inference.resize is None else list(inference.resize)
    augment: dict[str, Any] = {"crop_size": size, "base_size": base}
    if not pixels:
        augment["views"] = "grid"
    data_section: dict[str, Any] = {"source": data, "train_split": split, "num_workers": 0}
    if (bands := record.preprocessing.known_bands) is not None:
        data_section["bands"] = bands.model_dump(mode="json")
    raw = {
        "method": "segvit",
        **part_config(record).model_dump(mode="json"),
        "data": {**data_section, "augment": augment},
        "inference": record.inference,
        "optimizer": {"lr": 1e-4, "head_lr_ratio": 10, "weight_decay": 0.01},
        "schedule": {"power": 1.0},
        "training": {"iterations": ITERATIONS, "batch_size": 8, "freeze_backbone": True},
    }
    raw = apply_overrides(raw, overrides)
    iterations = raw["training"]["iterations"]
    if isinstance(iterations, int):  # anything else is the parser's to refuse
        raw["schedule"].setdefault("warmup_iterations", iterations // 10)
        raw["training"].setdefault("val_interval", max(1, iterations))
    return parse_recipe(raw)


def tell(extension: Extension, names: list[str]) -> None:
    """Say how the new classes do and where the model is."""
    held_out = extension.held_out
    if held_out is not None:
        scores = ", ".join(
            f"{name} {frame.percent(value, 1)}" for name, value in held_out.iou.items()
        )
        typer.echo(
            f"IoU on {held_out.images} held-out images, all classes competing: {scores}"
            + (f"; presence bias {held_out.bias:+g}" if held_out.bias else "")
        )
    typer.echo(
        f"learnt {', '.join(names)}; the old classes are scored as before, bit by bit. "
        f"Model: {extension.folder.resolve()}"
    )
