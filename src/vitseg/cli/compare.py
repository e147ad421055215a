"""`vitseg compare`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitseg.cli import frame, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError
from vitseg.launch import is_first_process

if TYPE_CHECKING:
    import torch

    from vitseg.studies.compare.compare import Row

OVERRIDE = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+=")


def compare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE... [section.field=value]...",
            help="Recipes (.yaml, or names of shipped ones), and overrides for all of them.",
        ),
        Before(lambda arguments, given: require_recipes(arguments, given)),
    ],
    *,
    data: Annotated[
        str | None, typer.Option("--data", help="The data set of all recipes, as NAME:ROOT.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A timm backbone to run each recipe with, instead of its own; its taps lie at the same fractions of "
            "the depth. Repeatable.",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Optimiser steps of each training.", min=1)
    ] = None,
    cache_features: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the features of frozen backbones here and train on them."
        ),
    ] = None,
) -> None:
    """Train heads or backbones under one budget, and show accuracy against cost.

    Writes compare.csv, compare.json, compare.html and runs/ into the folder. Runs that are there are not repeated.
    Exits with 2 if a training failed; the others are compared all the same, but for trainings on several devices, of
    which a failed one ends the comparison.
    """
    from vitseg.claims import claim_folder
    from vitseg.files import write_json, write_whole

    claim_folder(out, may_hold=None)
    if cache_features is not None:
        claim_folder(cache_features, may_hold=None, option="--cache-features")

    from vitseg.inference.predictor import choose_device
    from vitseg.studies.compare.compare import compare as run_comparison
    from vitseg.studies.compare.compare import comparison_json
    from vitseg.studies.compare.contenders import make_contenders
    from vitseg.training.caching import require_cacheable
    from vitseg.training.display import Display

    recipes, overrides = parse_arguments(arguments)
    if iterations is not None:
        overrides.append(f"training.iterations={iterations}")
    contenders = make_contenders(recipes, overrides, data, backbone or ())
    if cache_features is not None:
        for contender in contenders:
            require_cacheable(contender.recipe)
    device = choose_device("auto")
    with frame.kept("Finished trainings are kept: run the same command again."):
        rows = run_comparison(contenders, out, device, cache_features, frame.say, Display)
    if not is_first_process():
        return
    write_whole(out / "compare.csv", as_csv(rows))
    write_json(out / "compare.json", comparison_json(rows, device))
    write_page(out / "compare.html", rows, device)
    frame.show(comparison_table(rows))
    typer.echo(f"page: {(out / 'compare.html').resolve()}")
    failed = [row.contender.name for row in rows if row.error is not None]
    if failed:
        typer.echo(f"failed: {', '.join(failed)}; see compare.json", err=True)
        raise typer.Exit(2)


def parse_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recipes, and overrides, which are those with `section.field=`.

    Raises:
        ConfigError: There is no recipe.
    """
    overrides = [argument for argument in arguments if OVERRIDE.match(argument)]
    recipes = [argument for argument in arguments if not OVERRIDE.match(argument)]
    if not recipes:
        raise ConfigError("no recipe came, only overrides: give one or more recipes first.")
    return recipes, overrides


def require_recipes(arguments: Sequence[str], given: Mapping[str, Any]) -> None:
    """See that the recipes of a comparison are there, and what they are trained on and begin with."""
    recipes, overrides = parse_arguments(arguments)
    for recipe in recipes:
        places.require_training(recipe, {**given, "overrides": overrides})


def as_csv(rows: Sequence[Row]) -> str:
    """The rows as the text of a CSV file; empty cells where nothing is known."""
    file = io.StringIO(newline="")
    lines = [row.to_csv() for row in rows]
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def compared_models(rows: Sequence[Row]):
    """The rows as the page and the table show them."""
    from vitseg.studies.pages.comparison import ComparedModel

    models = []
    for row in rows:
        values = row.to_csv()
        models.append(
            ComparedModel(
                name=values["name"],
                method=values["method"],
                backbone=values["backbone"],
                miou=values["miou"],
                parameters=values["params_m"],
                head_parameters=values["head_params_m"],
                gmacs=values["gmacs"],
                head_gmacs=values["head_gmacs"],
                minutes=values["training_minutes"],
                time_ratio=values["time_ratio"],
                error=values["error"],
            )
        )
    return models


def comparison_table(rows: Sequence[Row]):
    """A rich table."""
    from rich.table import Table

    from vitseg.studies.pages.comparison import COLUMNS

    table = Table(
        caption="head: beyond the backbone; time: of a prediction, over the first model's"
    )
    for name in ("model", "backbone"):
        table.add_column(name, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for model in compared_models(rows):
        table.add_row(model.name, model.backbone, *model.cells)
    return table


def write_page(path: Path, rows: Sequence[Row], device: torch.device) -> None:
    """Write the page."""
    import torch

    from vitseg.evaluation.evaluate import device_name
    from vitseg.studies.pages.comparison import write_comparison

    recipe = rows[0].contender.recipe.without_paths()
    config = recipe.training
    done = [row.result["final"] for row in rows if row.result]
    facts = {
        "Data set": f"{recipe.data.source} ({recipe.data.train_split}, {recipe.data.val_split})",
        "Data hash": done[0]["content_hash"] if done else "–",
        "Iterations": f"{config.iterations:,}",
        "Batch": str(config.batch_size),
        "Seed": str(config.seed),
        "Device": f"{device_name(device)}, {torch.get_num_threads()} threads",
    }
    write_comparison(path, f"Comparison on {recipe.data.source}", facts, compared_models(rows))
