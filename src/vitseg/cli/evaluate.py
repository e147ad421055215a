"""`vitseg evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options

if TYPE_CHECKING:
    import numpy as np

    from vitseg.data.dataset import SegmentationDataset
    from vitseg.evaluation.evaluate import Evaluation, SampleResult
    from vitseg.evaluation.measures import MeasureScores
    from vitseg.evaluation.worst_samples import WorstSamples
    from vitseg.inference.predictor import Predictor

WORST = 24
"""Images in a report's gallery where no number is given."""


def evaluate(
    model: options.PredictingModel,
    *,
    data: options.Data,
    split: options.HeldOutSplit = None,
    json_file: options.JsonFile = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write a page with everything to DIR/report.html: scores, confusions and the worst images.",
            metavar="DIR",
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(help="Images in the report's gallery.", min=0, max=50)
    ] = WORST,
    measures: Annotated[
        str | None,
        typer.Option(
            help="What to measure beyond the confusion matrix: all, none, or some of boundary,size,calibration. "
            "Without it: all for a report, else none.",
            metavar="all|none|NAME,...",
        ),
    ] = None,
    without_class: Annotated[
        list[str] | None,
        typer.Option(
            help="A class of the model that is neither predicted nor scored. Repeatable.",
            metavar="CLASS",
        ),
    ] = None,
    protocol: options.Protocol = None,
    value_range: options.ValueRange = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
) -> None:
    """Score a model on a data set: mIoU, mAcc, aAcc and every class."""
    from vitseg.claims import claim_folder
    from vitseg.cli.default_split import held_out_split
    from vitseg.data.catalog import open_dataset
    from vitseg.files import write_json
    from vitseg.runtimes.places import weights_hash

    options.require_range(value_range)
    if report is not None:
        claim_folder(report, may_hold=None, option="--report")
    wanted = parse_measures(("none" if report is None else "all") if measures is None else measures)
    dataset = open_dataset(data, held_out_split(data, model, split))

    from vitseg.evaluation.evaluate import joined_as_trained
    from vitseg.inference.predictor import load

    predictor = load(model, device, protocol or (), value_range, dtype)
    dataset = joined_as_trained(dataset, data, predictor.record)
    seen = predictor.preprocessing
    dataset = dataset.read_as(seen.bands, seen.limits)  # for the report, too
    pages = ReportPages(worst, dataset, model) if report is not None else None
    result = show_scores(predictor, dataset, wanted, pages, without_class or ())
    if wanted:
        frame.show(measure_table(result.measures))
    if json_file is not None:
        scores = {**result.to_json(), "model": str(model), "weights_sha256": weights_hash(model)}
        write_json(json_file, scores)
    if report is not None and pages is not None:
        typer.echo(f"report: {pages.write(report, result)}")


def show_scores(
    predictor: Predictor,
    dataset: SegmentationDataset,
    measures: Sequence[str],
    pages: ReportPages | None,
    without_classes: Sequence[str] = (),
) -> Evaluation:
    """Score a model with a bar, and show notices and the table of its classes.

    Args:
        predictor: The model.
        dataset: Read as it reads images.
        measures: What is measured beyond the confusion matrix.
        pages: Collects the images of a report; None: there is none.
        without_classes: Classes that are neither predicted nor scored.
    """
    from vitseg.evaluation.evaluate import evaluate as run_evaluation

    with frame.bar("evaluate", len(dataset)) as advance:
        result = run_evaluation(
            predictor,
            dataset,
            advance,
            measures=measures,
            without_classes=without_classes,
            on_sample=None if pages is None else pages.add,
        )
    for line in result.notices:
        frame.say(line)
    frame.show(score_table(result))
    return result


class ReportPages:
    """Collects the images of the report while they are evaluated, and writes it at the end."""

    def __init__(self, num_worst: int, dataset: SegmentationDataset, model: Path):
        self.num_worst = num_worst
        self.dataset = dataset
        self.model = model
        self.samples: WorstSamples | None = None

    def add(self, result: SampleResult) -> None:
        """Look at one image; it is decoded again only if it is kept."""
        from vitseg.evaluation.worst_samples import WorstSamples

        if self.samples is None:
            self.samples = WorstSamples(self.num_worst, len(result.counts))
        self.samples.add(result, lambda: self._picture(result.index))

    def _picture(self, index: int) -> np.ndarray:
        from vitseg.images.bands import to_rgb

        return to_rgb(self.dataset[index].image, self.dataset.bands)

    def write(self, folder: Path, result: Evaluation) -> Path:
        """Write the page; returns its path."""
        from vitseg.evaluation.report import report_data
        from vitseg.evaluation.worst_samples import WorstSamples
        from vitseg.render.report import write_report
        from vitseg.runtimes.places import weights_hash

        samples = self.samples or WorstSamples(self.num_worst, result.classes.num_classes)
        facts = {"Model": self.model.name, "Weights": weights_hash(self.model)[:16]}
        title = f"{self.model.name} on {self.dataset.name} {self.dataset.split}"
        return write_report(folder, report_data(result, samples, title, facts))


def parse_measures(text: str) -> tuple[str, ...]:
    """The measures of `--measures`.

    Raises:
        ConfigError: A name is not known.
    """
    from vitseg.evaluation.measures import MEASURES, require_known

    if text == "all":
        return MEASURES
    names = () if text == "none" else tuple(name.strip() for name in text.split(","))
    require_known(names)
    return names


def score_table(result: Evaluation):
    """A rich table of the scores that follow from the confusion matrix, in percent."""
    from rich.table import Table

    scores = result.scores
    title = f"{result.protocol['dataset']} {result.protocol['split']}, {result.protocol['images']} images"
    table = Table(title=title, caption="percent")
    table.add_column("class")
    for name in ("IoU", "Acc", "Dice", "pixels"):
        table.add_column(name, justify="right")
    total = max(1, int(scores.pixels.sum()))
    for index, name in enumerate(result.classes.names):
        values = (scores.iou[index], scores.accuracy[index], scores.dice[index])
        table.add_row(
            name, *map(frame.percent, values), frame.percent(scores.pixels[index] / total)
        )
    table.add_section()
    means = (scores.mean_iou, scores.mean_accuracy, scores.mean_dice)
    table.add_row("mean", *map(frame.percent, means), "")
    table.add_row("weighted by pixels", frame.percent(scores.frequency_weighted_iou), "", "", "")
    table.add_row("all pixels (aAcc)", "", frame.percent(scores.pixel_accuracy), "", "")
    return table


def measure_table(measures: MeasureScores):
    """A rich table of what was measured beyond, in percent."""
    from rich.table import Table

    table = Table(title="measures beyond the confusion matrix", caption="percent")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for point in measures.trimap or ():
        name = f"mIoU within {point.width} px of a boundary (trimap)"
        table.add_row(name, frame.percent(point.scores.mean_iou))
    if measures.boundary is not None:
        table.add_row("boundary IoU, mean", frame.percent(measures.boundary.mean_iou))
    for name, scores in (measures.size or {}).items():
        label = f"mIoU of {name} objects ({int(scores.objects.sum())})"
        table.add_row(label, frame.percent(scores.mean_iou))
    if measures.calibration is not None:
        table.add_row("calibration error (ECE)", frame.percent(measures.calibration.ece))
    return table
