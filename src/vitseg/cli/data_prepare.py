"""`vitseg data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import frame

_NAMES = "ade20k, camvid, cityscapes, coco_stuff_10k, coco_stuff_164k, pascal_context, voc2012"


def prepare(
    name: Annotated[str, typer.Argument(help=f"The data set: {_NAMES}.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the result; may be the source itself.")],
    source: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with the official files, unpacked or as archives, or an archive. Repeatable. "
            "Without it, they are downloaded where the licence allows it."
        ),
    ] = None,
) -> None:
    """Make a published data set ready: download, unpack, convert and count it.

    An interrupted run continues where it was. Exits with 1 if files are damaged; they are named and the others done.
    """
    from rich.progress import TaskID

    from vitseg.prepare.prepare import prepare as run_preparation

    tasks: dict[str, TaskID] = {}
    with frame.kept("Run the same command again to continue."), frame.progress() as progress:

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step)
            progress.update(tasks[step], completed=done, total=total)

        result = run_preparation(name, out, source or [], frame.say, on_progress)
    for note in result.notes:
        frame.say(f"note: {note}")
    for failure in result.failures:
        frame.say(f"failed: {failure}")
    for count in result.counts:
        typer.echo(str(count))
    typer.echo(f"{result.made} files written, {result.kept} were there already")
    typer.echo(f"Open it with --data {' or '.join(result.specs)}")
    if result.failures:
        frame.say(
            f"{len(result.failures)} failed. Get these files again and run the same command: it does only what is left."
        )
        raise typer.Exit(1)
