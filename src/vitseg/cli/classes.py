"""`vitseg classes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vitseg.cli import frame, options
from vitseg.errors import ConfigError


def classes(
    model: options.Model,
    *,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Give a class another name. Repeatable."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Never predict this class again. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the changed model; with --rename and --remove.")
    ] = None,
    json_file: options.JsonFile = None,
) -> None:
    """List what a model knows and when it learnt it; rename or remove classes.

    The model itself stays as it is: the changed one is written to --out. Both its files and the list of hashes of an
    extended model are verified.
    """
    from rich.table import Table

    from vitseg.claims import claim_new
    from vitseg.files import write_json

    names = parse_renames(rename or [])
    if bool(names or remove) != (out is not None):
        raise ConfigError(
            "--out is the folder of a changed model: give it together with --rename or --remove, or leave both out."
        )
    if out is not None:
        claim_new(out)

    from vitseg.checkpoint.model_dir import load_model, save_model
    from vitseg.extend.edit import renamed, without
    from vitseg.extend.tasks import as_tasks, with_learnt

    loaded, record = load_model(model)
    if remove:
        loaded, record = without(*as_tasks(loaded, record), remove)
    if names:
        record = renamed(record, names)
    if out is not None:
        save_model(out, loaded, record)
    rows = listing(with_learnt(loaded, record))
    if json_file is not None:
        write_json(json_file, rows)
    table = Table(title=str(out or model))
    for name in ("", "class", "task", "learnt", "from", "images"):
        table.add_column(name, justify="right" if name in ("", "task", "images") else "left")
    for row in rows:
        learnt_as = row["learnt_as"]
        name = (
            row["name"] if learnt_as in (None, row["name"]) else f"{row['name']} (was {learnt_as})"
        )
        cells = (row["index"], name, row["task"], row["learnt_on"], row["source"], row["images"])
        table.add_row(*("-" if cell is None else str(cell) for cell in cells))
    frame.show(table)
    if out is not None:
        typer.echo(f"model: {out.resolve()}")


def parse_renames(entries: list[str]) -> dict[str, str]:
    """The names of `--rename`.

    Raises:
        ConfigError: An entry is not written OLD=NEW, or a class comes twice.
    """
    names: dict[str, str] = {}
    for entry in entries:
        old, equals, new = (part.strip() for part in entry.partition("="))
        if not equals or not old or not new:
            raise ConfigError(
                f"--rename {entry!r} is not written OLD=NEW: for example car=vehicle."
            )
        if old in names:
            raise ConfigError(f"--rename names {old!r} twice: name each class once.")
        names[old] = new
    return names


def listing(record) -> list[dict[str, Any]]:
    """One row for each class of a model: what is known of how it was learnt.

    Args:
        record: Of any method; one of tasks has an entry for each (`vitseg.extend.tasks.with_learnt`).
    """
    from vitseg.extend.tasks import config_of

    if not record.tasks:
        source = record.recipe.get("data", {}).get("source")
        return [
            _row(index, name, record.classes.palette[index], 0, None, None, source, None)
            for index, name in enumerate(record.classes.names)
        ]
    rows: list[dict[str, Any]] = []
    for number, (task, learnt) in enumerate(
        zip(config_of(record).tasks, record.tasks, strict=True)
    ):
        for own in task.kept:
            index = len(rows)
            name, color = record.classes.names[index], record.classes.palette[index]
            day = None if learnt.learnt_on is None else learnt.learnt_on.isoformat()
            as_then = learnt.classes[own]
            rows.append(
                _row(index, name, color, number, as_then, day, learnt.source, learnt.images)
            )
    return rows


def _row(index, name, color, task, learnt_as, learnt_on, source, images) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "color": list(color),
        "task": task,
        "learnt_as": learnt_as,
        "learnt_on": learnt_on,
        "source": source,
        "images": images,
    }
