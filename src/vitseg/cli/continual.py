"""`vitseg continual`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError
from vitseg.launch import is_repeating

if TYPE_CHECKING:
    from vitseg.studies.continual.results import RunResult


def continual(
    recipe: Annotated[
        Path,
        typer.Argument(help="A recipe with a section continual, or the name of a shipped one."),
        Before(places.require_training),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="section.field=value, as in continual.approach=mib"),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: options.OptionalData = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    first_of: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Take the first step of this run, if it is the same, instead of training it.",
        ),
        Before(lambda run, given: _require_run("--first-of", run)),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="A finished run to show in the tables and the curve, such as the joint training. Repeatable.",
        ),
        Before(lambda runs, given: [_require_run("--beside", run) for run in runs]),
    ] = None,
) -> None:
    """Learn classes in steps, and measure what is kept of the earlier ones.

    Writes a folder for each step, continual.json, the tables and the curve (scores, forgetting and curve .csv; .txt and
    tables.json) and continual.html. Ctrl-C and SIGTERM save everything and exit with 130 and 143; --resume continues.
    """
    from vitseg.claims import claim_folder

    claim_folder(out, may_hold=None)

    from vitseg.studies.continual.recipe import load_continual
    from vitseg.studies.continual.results import RunResult, side_by_side
    from vitseg.studies.continual.run import run_continual
    from vitseg.training.display import Display

    loaded = load_continual(recipe, overrides or [], data)
    others = [RunResult.read(folder) for folder in beside or ()]
    with frame.kept("Steps that are scored are kept."):
        result = run_continual(loaded, out, resume, Display, frame.say, first_of)
    if is_repeating():
        return
    write_result(out, result)
    write_tables(out, side_by_side(result, others))
    typer.echo((out / "scores.txt").read_text(encoding="utf-8").rstrip())
    typer.echo(f"page: {(out / 'continual.html').resolve()}")


def _require_run(option: str, run: Path) -> None:
    if not run.is_dir():
        raise ConfigError(f"{option} {run} is no folder: give the --out of a `vitseg continual`.")


def write_result(out: Path, result: RunResult) -> None:
    """Write `continual.json`."""
    from vitseg.files import write_json
    from vitseg.studies.continual.results import RESULT

    write_json(out / RESULT, result.to_json())


def write_tables(out: Path, runs: Sequence[RunResult]) -> None:
    """Write the tables, the curve's numbers and the page."""
    from vitseg.files import write_json, write_whole
    from vitseg.studies.continual import results

    scores, kept = results.score_rows(runs), results.forgetting_rows(runs)
    for name, rows in (("scores", scores), ("forgetting", kept)):
        write_whole(out / f"{name}.csv", results.as_csv(rows))
        write_whole(out / f"{name}.txt", results.as_text(rows))
    curve = results.curve_rows(runs)
    write_whole(out / "curve.csv", results.as_csv(curve))
    together = {"scores": scores, "forgetting": kept, "curve": curve}
    write_json(out / "tables.json", together)
    write_page(out / "continual.html", runs)


def write_page(path: Path, runs: Sequence[RunResult]) -> None:
    """Write the page."""
    from vitseg.studies.continual.metrics import base_curve
    from vitseg.studies.continual.results import forgetting_rows, reductions
    from vitseg.studies.pages.continual import Curve, Lines, write_continual

    percent = partial(frame.percent, unknown="–")
    first = runs[0]
    content, evaluation = first.content, first.content["steps"][0]["evaluation"]
    facts = {
        "Split": content["split"],
        "Setting": content["setting"],
        "Order": f"{content['order']}, seed {content['order_seed']}",
        "Data set": f"{evaluation['dataset']} ({evaluation['split']}, {evaluation['images']} images)",
        "Data hash": evaluation["content_hash"],
        "Seed": str(content["seeds"][0]),
        "Device": f"{evaluation['device']}, {evaluation['threads']} threads",
    }
    curves = [
        Curve(run.name, tuple(base_curve(run.history, run.tasks)), run.is_joint) for run in runs
    ]
    sizes = [len(task) for task in first.tasks]
    learnt = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    rows = []
    for run in runs:
        drops = reductions(run, runs)
        points = ["–"] * 3 if drops is None else [percent(drop.points) for drop in drops]
        scores = [percent(score) for score in run.scores]
        rows.append((run.name, *scores[:3], "–" if run.is_joint else scores[3], *points))
    kept = tuple(
        (f"{row['approach']} ({row['method']})", row["task"], *(percent(row[key]) for key in ("first", "last", "lost")))
        for row in forgetting_rows(runs)
    )  # fmt: skip
    tables = (
        Lines(
            "Scores after the last step",
            "mIoU in percent: of the first step's classes, of all later ones, of all; and the average over steps of "
            "the mIoU over all classes learnt by then. Below the oracle: points that a score stays below that "
            "of the joint training of the same method.",
            ("Run", "old", "new", "all", "avg", "old below", "new below", "all below the oracle"),
            tuple(rows),
        ),
        Lines(
            "Forgetting",
            "mIoU in percent of the classes of each step, right after it and after the last step.",
            ("Run", "Task", "first time", "last time", "forgetting"),
            kept,
        ),
    )
    write_continual(path, f"Learning in steps: {content['split']}", facts, learnt, curves, tables)
