"""`vitseg reproduce`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitseg.cli import frame, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError, DataError
from vitseg.launch import is_first_process

if TYPE_CHECKING:
    from vitseg.studies.reproduce.reproduce import Reproduction
    from vitseg.training.recipe_shelf import ShelfRecipe


def reproduce(
    recipe: Annotated[
        str,
        typer.Argument(help="The name of a shipped recipe: ade20k/segvit-vit_large_patch16_384."),
        Before(lambda name, given: require_row(name, given)),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="section.field=value, as in training.devices=8; the row tells them."),
    ] = None,
    *,
    data: Annotated[
        str | None, typer.Option("--data", help="The data set of the recipe, as NAME:ROOT.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    needs: Annotated[
        bool,
        typer.Option("--needs", help="Only say what the row needs: data, weights, hours, memory."),
    ] = False,
) -> None:
    """Train and score a published row again, and show it beside the published one.

    Says what it needs, trains, scores the last model as the paper does, and writes reproduction.json. The same command
    goes on with a run that was stopped, and shows one that is finished.
    """
    from vitseg.claims import claim_run
    from vitseg.runs import stage_of, was_killed_early
    from vitseg.training.recipe_shelf import find_shipped

    shown, _ = find_shipped(recipe)
    changed = overrides or []
    lacking: tuple[str, ...] = ()
    if not needs:
        out = require_out(out)
        if stage_of(out) in ("none", "begun"):
            claim_run(out, resume=was_killed_early(out))
        lacking = require_data(shown, changed, data)

    from vitseg.studies.reproduce.needs import needs as needs_of
    from vitseg.training.recipe import load_recipe

    run = load_recipe(shown.name, changed, data)
    if is_first_process():
        for line in needs_of(shown, run):
            typer.echo(line)
        for line in lacking:
            frame.say(f"warning: {line}")
    if needs:
        return

    from vitseg.studies.reproduce.reproduce import reproduce as run_reproduction
    from vitseg.studies.reproduce.weights import require_weights
    from vitseg.training.display import Display

    assert out is not None
    if stage_of(out) in ("none", "begun"):
        require_weights(run.model.backbone)
    with frame.kept("Run the same command again to go on."):
        found = run_reproduction(
            shown, run, out, lacking, Display(), lambda images: frame.bar("several scales", images)
        )
    if found is not None:
        show(found, out)


def require_row(name: str, given: Mapping[str, Any]) -> None:
    """See that a recipe is a shipped one of one training, and that its data are there if it is to be trained."""
    from vitseg.training.recipe_shelf import find_shipped

    shown, _ = find_shipped(name)
    if shown.verb == "continual":
        raise ConfigError(
            f"{shown.name} is a recipe of several trainings: vitseg continual runs and scores it."
        )
    raw = places.require_recipe(shown.name, given)
    if given.get("needs"):
        return
    advice = _advice(shown)
    if given.get("data") is None and not _source_of(raw):
        raise ConfigError(f"no data set: pass --data {shown.data}:ROOT.{advice}")
    try:
        places.require_training(shown.name, given)
    except DataError as error:
        raise DataError(f"{error}{advice}") from error


def require_out(out: Path | None) -> Path:
    """Raise ConfigError where no folder is given."""
    if out is None:
        raise ConfigError(
            "--out is missing: give the folder of the run, or --needs to see what it needs."
        )
    return out


def require_data(shown: ShelfRecipe, overrides: list[str], data: str | None) -> tuple[str, ...]:
    """See that the data are those of the recipe; returns what they lack, a line each."""
    from vitseg.studies.reproduce.data_set import require_data_set
    from vitseg.training.recipe_files import read_recipe

    raw = read_recipe(shown.name, overrides, data)
    stated = raw.get("data", {})
    splits = (stated.get("train_split", "train"), stated.get("val_split", "val"))
    try:
        return require_data_set(shown.data, _source_of(raw), splits)
    except DataError as error:
        raise DataError(f"{error}{_advice(shown)}") from error


def show(found: Reproduction, out: Path) -> None:
    """Print the row beside the published one."""
    from vitseg.studies.reproduce.reproduce import REPRODUCTION

    frame.show(row_table(found))
    final = found.result["final"]
    typer.echo(
        f"seed {found.result['seed']}, {found.result['iterations']:,} iterations, "
        f"{found.result['training_minutes']} minutes on {final['device']}"
    )
    for field, value in found.changes.items():
        typer.echo(f"changed: {field}={value}")
    for line in found.lacking:
        typer.echo(f"data: {line}")
    typer.echo(f"row: {(out / REPRODUCTION).resolve()}")


def row_table(found: Reproduction):
    """A rich table."""
    from rich.table import Table

    table = Table(title=found.name)
    table.add_column("")
    for name in (found.reference or "published", "ours", "difference"):
        table.add_column(name, justify="right")
    for entry in found.entries:
        difference = "-" if entry.difference is None else f"{entry.difference:+.{entry.digits}f}"
        values = (entry.reference, entry.ours)
        table.add_row(entry.label, *(_number(value, entry.digits) for value in values), difference)
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _advice(shown: ShelfRecipe) -> str:
    """How to get the data of a recipe, behind another sentence; nothing for one's own."""
    from vitseg.studies.reproduce.data_set import find_data_set

    found = find_data_set(shown.data, ())
    return "" if found is None else f" To get it: {found.source}."


def _source_of(raw: Mapping[str, Any]) -> str:
    stated = raw.get("data")
    source = stated.get("source") if isinstance(stated, Mapping) else None
    return source if isinstance(source, str) else ""
