"""`vitseg suggest`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options, places
from vitseg.cli.places import Before

if TYPE_CHECKING:
    from vitseg.data.dataset import SegmentationDataset
    from vitseg.inference.predictor import Predictor


class Tool(StrEnum):
    """The names of `annotations.table.WRITERS`, which the help does not load."""

    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"
    COCO = "coco"
    LABELME = "labelme"


def suggest(
    model: options.PredictingModel,
    inputs: Annotated[
        list[str], typer.Argument(metavar="FOLDER...", help="Images, folders or globs.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the lists, the page and annotations.")],
    count: Annotated[int, typer.Option(help="How many images to suggest.", min=1)] = 50,
    labelled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Images that have labels: none of them is suggested, and what is like them comes later. Repeatable.",
        ),
    ] = None,
    annotations: Annotated[
        list[Tool] | None,
        typer.Option(
            help="Also write the model's labels of the suggested images for a labelling tool, beside copies of the "
            "images. Repeatable."
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:ROOT",
            help="Labelled data by which the model's probabilities are calibrated, with a temperature.",
        ),
        Before(places.require_data),
    ] = None,
    split: options.HeldOutSplit = None,
    protocol: options.Protocol = None,
    value_range: options.ValueRange = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
) -> None:
    """Say which images to label next: those that the model is unsure of, and that are unlike each other.

    An image that cannot be read is reported and left out; the exit code is then 2. The same command gives the same
    images.
    """
    from vitseg.claims import claim_folder
    from vitseg.cli.inputs import find_inputs, left_out
    from vitseg.cli.member import Failures
    from vitseg.runtimes.places import find_model, weights_hash

    options.require_range(value_range)
    targets = find_inputs(inputs)
    others = [path for path, _ in find_inputs(labelled)] if labelled else []
    known = {path.resolve() for path in others}
    targets = [(path, name) for path, name in targets if path.resolve() not in known]
    claim_folder(out)
    found = find_model(model)
    known_data = None
    if calibrate is not None:
        from vitseg.cli.default_split import held_out_split
        from vitseg.data.catalog import open_dataset

        known_data = open_dataset(calibrate, held_out_split(calibrate, model, split))

    from vitseg.annotations.table import WRITERS
    from vitseg.images.notices import grouped
    from vitseg.inference.predictor import load
    from vitseg.suggest.look import Looker
    from vitseg.suggest.results import SuggestionFolder, file_names
    from vitseg.suggest.suggest import suggest as choose

    predictor = load(found, device, protocol or (), value_range, dtype)
    wanted = dict.fromkeys(tool.value for tool in annotations or ())
    writers = {name: WRITERS[name](out / name, predictor.classes) for name in wanted}
    temperature = 1.0
    if known_data is not None and calibrate is not None:
        temperature = fitted(predictor, known_data, calibrate)
    looker, failures = Looker(predictor, temperature), Failures()
    unreadable: dict[str, str] = {}
    folder = SuggestionFolder(out, writers)
    with grouped(), frame.bar("look at images", len(targets) + len(others)) as advance:

        @contextmanager
        def told(path: Path) -> Iterator[None]:
            with failures.told(path):
                yield
            if failures.last is not None:
                unreadable[str(path)] = failures.last
            advance()

        chosen = choose(looker, targets, count, others, told)
    with frame.bar("show what is suggested", len(chosen.chosen)) as advance:
        names = file_names(chosen.chosen)
        for rank, (each, name) in enumerate(zip(chosen.chosen, names, strict=True), start=1):
            folder.add(rank, each, name, *looker.closely(each.path))
            advance()
    facts = {"model": str(model), "weights_sha256": weights_hash(found)}
    folder.close(chosen, facts, unreadable)
    typer.echo(f"{len(chosen.chosen)} of {chosen.num_seen} images -> {folder.index}")
    typer.echo(f"compared by {chosen.features}")
    for line in notes(count, len(chosen.chosen), chosen.num_copies, calibrate, temperature):
        typer.echo(line, err=True)
    for line in left_out(inputs):
        typer.echo(line, err=True)
    if failures.count:
        raise typer.Exit(failures.exit_code)


def fitted(predictor: Predictor, dataset: SegmentationDataset, spec: str) -> float:
    """The temperature by a data set, which was opened by what `--calibrate` says."""
    from vitseg.evaluation.evaluate import joined_as_trained
    from vitseg.suggest.temperature import fit_temperature, images_looked_at

    dataset = joined_as_trained(dataset, spec, predictor.record)
    with frame.bar("calibrate", images_looked_at(dataset)) as advance:
        return fit_temperature(predictor, dataset, advance)


def notes(
    wanted: int, num_chosen: int, num_copies: int, calibrate: str | None, temperature: float
) -> Iterator[str]:
    """What is to be said beside the count."""
    if calibrate is not None:
        yield f"temperature {temperature:.2f}, by {calibrate}"
    if num_copies:
        yield f"{num_copies:,} are copies or near duplicates of others, of which one is enough"
    if num_chosen < wanted:
        yield f"--count {wanted}: no more than {num_chosen:,} are there that are not alike"
