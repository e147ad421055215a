"""`vitseg recipes`: the shelf of shipped recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options

if TYPE_CHECKING:
    from vitseg.training.recipe_shelf import ShelfRecipe

recipes_app = typer.Typer(name="recipes", rich_markup_mode=None)


def recipes(
    ctx: typer.Context,
    *,
    data: Annotated[
        str | None, typer.Option(help="Recipes for this data set alone; folder: your own masks.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Recipes of this method alone.")] = None,
    json_file: options.JsonFile = None,
) -> None:
    """List the recipes that come with the package, by data set, or show one.

    A recipe is run by its name: vitseg train folder/small-vit_tiny --data folder:ROOT --out runs/mine
    """
    if ctx.invoked_subcommand is not None:
        return
    from vitseg.training.recipe_shelf import read_shelf

    shelf = read_shelf(data, method)
    if not shelf:
        typer.echo(f"no recipe for {data} of method {method}")
    for line in _lines(shelf) if shelf else ():
        typer.echo(line)
    if json_file is not None:
        from vitseg.files import write_json

        write_json(json_file, [recipe.to_json() for recipe in shelf])


def show(name: Annotated[str, typer.Argument(help="As listed: camvid/segvit-vit_tiny.")]) -> None:
    """Print a recipe as its file has it; what it costs and what it scored is said on stderr.

    For a recipe of your own: vitseg recipes show folder/small-vit_tiny > mine.yaml
    """
    from vitseg.training.recipe_shelf import find_shipped

    recipe, text = find_shipped(name)
    frame.say(f"{recipe.name}: {', '.join(_facts(recipe)) or 'no figures'}")
    typer.echo(text, nl=False)


recipes_app.callback(invoke_without_command=True)(frame.framed(recipes))
recipes_app.command()(frame.framed(show))


def _lines(shelf: Sequence[ShelfRecipe]) -> Iterator[str]:
    """A table for each data set, as plain text: names stay whole on any terminal, and can be searched."""
    for data, group in groupby(shelf, key=lambda one: one.data):
        rows = [HEADER, *map(_row, group)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield f"{data}: {OWN}" if data == "folder" else data
        for row in rows:
            left = [text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True)]
            right = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
            yield f"  {'  '.join([*left, *right])}".rstrip()
        yield ""
    yield NOTE


HEADER = ("recipe", "method", "backbone", "mIoU", "GMACs", "MB")
OWN = "your own masks"
NOTE = """\
mIoU: published, at one scale; ms: at several scales; here: measured here in a short run.
GMACs and MB: of predicting one crop in float32, weights included; training takes several times as much memory.
continual-*: run by vitseg continual."""


def _row(one: ShelfRecipe) -> tuple[str, ...]:
    figures = one.figures
    memory = "" if figures.memory_mb is None else f"{figures.memory_mb:.0f}"
    gmacs = "" if figures.gmacs is None else f"{figures.gmacs:.1f}"
    backbone = one.backbone.partition(".")[0]
    return one.name, one.method, backbone, _score(one), gmacs, memory


def _score(one: ShelfRecipe) -> str:
    row, measured = one.published, one.figures.measured
    if row is not None and row.miou is not None:
        return f"{row.miou:.1f}"
    if row is not None and row.miou_multi_scale is not None:
        return f"{row.miou_multi_scale:.1f} ms"
    return "" if measured is None else f"{measured:.1f} here"


def _facts(one: ShelfRecipe) -> Iterator[str]:
    row, figures = one.published, one.figures
    if row is not None and row.miou is not None:
        yield f"published {row.miou} mIoU"
    if row is not None and row.miou_multi_scale is not None:
        yield f"published {row.miou_multi_scale} mIoU at several scales"
    if figures.measured is not None:
        yield f"{figures.measured} mIoU measured here in a short run"
    if figures.parameters_m is not None:
        yield f"{figures.parameters_m} M parameters"
    size = f"of {figures.height} x {figures.width} with {figures.classes} classes"
    if figures.gmacs is not None:
        yield f"{figures.gmacs} GMACs {size}"
    if figures.memory_mb is not None:
        yield f"{figures.memory_mb:g} MB to predict one such crop"
