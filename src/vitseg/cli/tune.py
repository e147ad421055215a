"""`vitseg tune`."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options
from vitseg.errors import ConfigError

if TYPE_CHECKING:
    from vitseg.studies.pages.trade_off import Marker, TradeOff
    from vitseg.studies.tune.tune import Row, Tuning

THRESHOLDS = "0.6,0.8,0.9,0.95"
MARKERS: dict[str, Marker] = {
    "unpruned": "ring", "pruned": "line", "smaller input": "square", "larger patch": "diamond",
}  # fmt: skip
"""How each kind of setting is drawn."""


def tune(
    model: options.Model,
    *,
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder for the report and the tuned model.")],
    split: options.HeldOutSplit = None,
    max_loss: Annotated[
        float, typer.Option(help="Points of mIoU (percent) that may be lost.", metavar="POINTS")
    ] = 0.5,
    thresholds: Annotated[
        str, typer.Option(help="Confidences to try, each in (0, 1].", metavar="T,...")
    ] = THRESHOLDS,
    limit: Annotated[
        int | None,
        typer.Option(help="Measure on this many images, spread over the split.", min=1),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Find out whether token pruning pays: accuracy against time on your data and device.

    Beside pruning at each threshold and set of exits, the model is run on smaller inputs and with larger patches.
    Writes tune.json, tune.csv and tune.html; and the model with the best setting, if one within the allowed loss is
    clearly faster than the model as it is: the fastest, and of those about as fast the one of highest mIoU.
    """
    from vitseg.checkpoint.places import weights_hash
    from vitseg.claims import claim_folder
    from vitseg.cli.default_split import held_out_split
    from vitseg.data.catalog import open_dataset
    from vitseg.files import write_json, write_whole

    wanted = parse_thresholds(thresholds)
    require_loss(max_loss)
    claim_folder(out, instead="give another folder, or empty it")
    dataset = open_dataset(data, held_out_split(data, model, split))

    from vitseg.checkpoint.model_dir import save_model
    from vitseg.data.picked import picked, spread_indices
    from vitseg.evaluation.evaluate import joined_as_trained, require_same_classes
    from vitseg.inference.predictor import choose_device
    from vitseg.studies.tune.settings import load_prunable, make_settings
    from vitseg.studies.tune.tune import planned_runs
    from vitseg.studies.tune.tune import tune as measure

    chosen = choose_device(device)
    trained, record = load_prunable(model)
    dataset = joined_as_trained(dataset, data, record)
    require_same_classes(record.classes, dataset)
    if limit is not None:
        dataset = picked(dataset, spread_indices(len(dataset), limit))
    settings, left_out = make_settings(trained, record, chosen, wanted)
    total = planned_runs(len(settings), len(dataset))
    with frame.bar(f"{len(settings)} settings", total) as advance:
        tuning = measure(settings, left_out, dataset, max_loss, advance)
    content = {**tuning.to_json(), "model": str(model), "weights_sha256": weights_hash(model)}
    write_json(out / "tune.json", content)
    write_whole(out / "tune.csv", as_csv(tuning))
    write_page(out / "tune.html", tuning)
    frame.show(tuning_table(tuning))
    for name, reason in left_out.items():
        typer.echo(f"{name} is left out: {reason}")
    typer.echo(tuning.verdict)
    if tuning.best is not tuning.unpruned:  # behind the report, which no full disk may take along
        save_model(out, tuning.best.setting.model, tuning.record())
        typer.echo(f"model: {out.resolve()} ({tuning.best.setting.name})")
    typer.echo(f"page: {(out / 'tune.html').resolve()}")


def parse_thresholds(text: str) -> tuple[float, ...]:
    """The thresholds of `--thresholds`.

    Raises:
        ConfigError: One is no number in (0, 1], or there is none.
    """
    values = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 < value <= 1:
            raise ConfigError(
                f"--thresholds {text!r}: {part.strip()!r} is no confidence above 0 and up to 1. Write them as in "
                f"--thresholds {THRESHOLDS}."
            )
        values.append(value)
    return tuple(values)


def require_loss(max_loss: float) -> None:
    """Raise ConfigError unless a loss of mIoU in points makes sense."""
    if not 0 <= max_loss <= 100:
        raise ConfigError(
            f"--max-loss {max_loss:g} is no loss in points of mIoU: give one from 0 to 100, as in --max-loss 0.5."
        )


def as_csv(tuning: Tuning) -> str:
    """The rows as the text of a CSV file; the shares of tokens alive in a column for each exit."""
    lines = []
    for row in tuning.rows:
        values = row.to_json()
        alive = {f"alive_{number}": share for number, share in enumerate(values.pop("alive"))}
        for name in ("exits", "blocks"):
            values[name] = "+".join(map(str, values[name]))
        lines.append({**values, **alive})
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def trade_offs(tuning: Tuning) -> list[TradeOff]:
    """The rows as the page and the table show them."""
    from vitseg.studies.pages.trade_off import TradeOff

    return [
        TradeOff(
            name=row.setting.name,
            group=group_name(row),
            marker=MARKERS[row.setting.kind],
            miou=row.miou,
            gmacs=row.gmacs,
            alive=row.alive,
            milliseconds=row.milliseconds,
            time_ratio=row.time_ratio,
            is_best=row is tuning.best,
        )
        for row in tuning.rows
    ]


def group_name(row: Row) -> str:
    """What settings that belong together are called: pruned ones by their exits, the others by their kind."""
    from vitseg.studies.tune.settings import exits_name

    if row.setting.kind != "pruned":
        return row.setting.kind
    blocks = ", ".join(str(block) for block in row.to_json()["blocks"])
    return f"pruned at {exits_name(row.setting.exits)} (behind block {blocks})"


def tuning_table(tuning: Tuning):
    """A rich table."""
    from rich.table import Table

    from vitseg.studies.pages.trade_off import COLUMNS

    protocol = tuning.unpruned.evaluation.protocol
    table = Table(
        title=f"{protocol['dataset']} {protocol['split']}, {protocol['images']} images",
        caption=f"times and GMACs on {tuning.timed_images} of them; alive: tokens behind each exit",
    )
    table.add_column("setting")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for line in trade_offs(tuning):
        table.add_row(f"{line.name} *" if line.is_best else line.name, *line.cells)
    return table


def write_page(path: Path, tuning: Tuning) -> None:
    """Write the page."""
    from vitseg.studies.pages.trade_off import write_trade_off

    protocol = tuning.unpruned.evaluation.protocol
    facts = {
        "Data set": f"{protocol['dataset']} {protocol['split']}, {protocol['images']} images",
        "Data hash": protocol["content_hash"],
        "Allowed loss": f"{tuning.max_loss:g} points of mIoU",
        "Timed on": f"{tuning.timed_images} images, alternating",
        "Rule": tuning.unpruned.setting.pruning.rule,
        "Device": protocol["device"],
        "Threads": str(protocol["threads"]),
    }
    title = f"Token pruning on {protocol['dataset']} {protocol['split']}"
    lines = trade_offs(tuning)
    write_trade_off(path, title, tuning.verdict, facts, lines, tuning.lowest_miou, tuning.left_out)
