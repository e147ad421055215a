"""`vitseg explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import frame, options
from vitseg.errors import ConfigError


def explain(
    model: options.Model,
    inputs: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or globs.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the sheets and index.html.")],
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="The classes to show.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Show this many: most pixels first, then most probable; else 5.", min=1),
    ] = None,
    value_range: options.ValueRange = None,
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace sheets that are already in --out.")
    ] = False,
) -> None:
    """Show how a model comes to its labels.

    Of SegViT, Shrunk, semaskvit and segvit_joint, per class its probability and every stage's mask; of a pruned model,
    where its tokens left; of NRD, its cells and what their networks read; of a model that was extended, which task
    claims which pixel.
    Images are run whole, in one view. An image that cannot be shown is reported and left out; the exit code is then 2.
    """
    from vitseg.cli.explain_page import SheetFolder
    from vitseg.cli.inputs import find_inputs, left_out
    from vitseg.cli.member import Failures

    if classes is not None and top is not None:
        raise ConfigError("--classes names the classes to show and --top counts them: give one.")
    options.require_range(value_range)
    targets = find_inputs(inputs)
    folder = SheetFolder(out, targets, overwrite)

    from vitseg.explain.table import kind_of
    from vitseg.images.notices import grouped
    from vitseg.inference.predictor import load

    predictor = load(model, device, value_range=value_range)
    kind, chosen = kind_of(predictor), {}
    if not kind.shows_some_classes and (classes is not None or top is not None):
        raise ConfigError(
            f"--classes and --top choose the masks of a SegViT; of {kind.of} there is one sheet with all classes: "
            "leave them out."
        )
    if classes is not None:
        chosen["classes"] = options.find_classes(classes, predictor.classes)
    if top is not None:
        chosen["top"] = top
    failures = Failures()
    with grouped(), frame.bar("explain", len(targets)) as advance:
        for path, name in targets:
            with failures.told(path):
                folder.add(kind.explain(predictor, path, **chosen), name, caption=str(path))
            advance()
            if failures.disk_full is not None:
                raise failures.disk_full
    folder.write_index(f"How {model} labels")
    typer.echo(f"{len(targets) - failures.count} of {len(targets)} images -> {folder.index}")
    for line in left_out(inputs):
        typer.echo(line, err=True)
    if failures.count:
        raise typer.Exit(failures.exit_code)
