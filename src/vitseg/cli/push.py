"""`vitseg push`."""

from __future__ import annotations

from typing import Annotated

import typer

from vitseg.cli import options, places
from vitseg.cli.places import Before


def push(
    model: options.Model,
    repo: Annotated[
        str,
        typer.Argument(metavar="USER/NAME", help="The repository on the Hugging Face hub."),
        Before(places.require_repository),
    ],
    *,
    private: Annotated[
        bool, typer.Option("--private", help="Only you may see the repository.")
    ] = False,
    license_text: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="Licence of the weights (apache-2.0, or a sentence), where the model states none.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the model card and the files, upload nothing.")
    ] = False,
) -> None:
    """Publish a model on the Hugging Face hub, with a model card. It then loads as hf://USER/NAME.

    Classes, scores and the training recipe (without paths) are published with it.
    """
    from vitseg.checkpoint.publish import prepare, publish

    publication = prepare(model, repo, license_text)
    if dry_run:
        typer.echo(publication.card)
        typer.echo(f"not uploaded: {', '.join(publication.files)}", err=True)
        return
    url = publish(publication, private)
    typer.echo(f"{', '.join(publication.files)} -> {url}")
    typer.echo(f"load it with: hf://{publication.repo}")
