"""`vitseg evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import options

if TYPE_CHECKING:
    from vitseg.evaluation.evaluate import Evaluation


def evaluate(
    model: options.Model,
    *,
    data: options.Data,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "val",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores to this file.")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Score a model on a data set: mIoU, mAcc, aAcc and every class."""
    from rich.console import Console
    from rich.progress import Progress

    from vitseg.checkpoint.model_dir import weights_hash
    from vitseg.data.catalog import open_dataset
    from vitseg.errors import ConfigError
    from vitseg.evaluation.evaluate import evaluate as run_evaluation
    from vitseg.inference.predictor import load

    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(
            f"--json {json_file}: the folder {json_file.absolute().parent} does not exist."
        )
    if json_file is not None and json_file.is_dir():
        raise ConfigError(f"--json {json_file} is a folder: give the file to write.")
    dataset = open_dataset(data, split)
    predictor = load(model, device)
    trained = predictor.record.recipe.get("data", {})
    joint, ignored = trained.get("merge"), trained.get("ignore", ())
    if dataset.classes.names != predictor.classes.names and (joint or ignored):
        dataset = open_dataset(data, split, joint, ignored)  # classes joined as in the training
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluate", total=len(dataset))
        result = run_evaluation(predictor, dataset, lambda: progress.advance(task))
    Console().print(score_table(result))
    if json_file is not None:
        scores = {**result.to_json(), "model": str(model), "weights_sha256": weights_hash(model)}
        json_file.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def score_table(result: Evaluation):
    """A rich table of the scores, in percent."""
    from rich.table import Table

    scores = result.scores
    title = f"{result.protocol['dataset']} {result.protocol['split']}, {result.protocol['images']} images"
    table = Table(title=title, caption="percent")
    table.add_column("class")
    for name in ("IoU", "Acc", "pixels"):
        table.add_column(name, justify="right")
    total = max(1, int(scores.pixels.sum()))
    for index, name in enumerate(result.classes.names):
        cells = (_percent(scores.iou[index]), _percent(scores.accuracy[index]))
        table.add_row(name, *cells, _percent(scores.pixels[index] / total))
    table.add_section()
    table.add_row("mean", _percent(scores.mean_iou), _percent(scores.mean_accuracy), "")
    table.add_row("all pixels (aAcc)", "", _percent(scores.pixel_accuracy), "")
    return table


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.2f}"
