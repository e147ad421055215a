"""`vitseg export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitseg.cli import frame, options

if TYPE_CHECKING:
    from vitseg.checkpoint.model_dir import ModelRecord
    from vitseg.export.export import ExportOptions
    from vitseg.export.fastest import Fastest
    from vitseg.export.parity import Parity
    from vitseg.export.photos import LabelledPhoto, Photos
    from vitseg.runtimes.record import ExportRecord

PHOTOS = 20
"""Images of a data set that an export is compared on, where no number is given."""


def export(
    model: options.Model,
    *,
    out: Annotated[
        Path, typer.Option(help="File to write; what it is goes beside it, as OUT.json.")
    ],
    format: Annotated[
        Literal["onnx", "openvino", "torch-export"],
        typer.Option(help="What shall run it: files end in .onnx, .xml (with a .bin) and .pt2."),
    ] = "onnx",
    form: Annotated[
        Literal["masks", "probs", "labels"],
        typer.Option(
            help="What it gives: masks over the token grid with class logits, which vitseg itself runs; for other "
            "programs the class probabilities or the label map of every pixel."
        ),
    ] = "masks",
    outside: Annotated[
        bool,
        typer.Option(
            "--outside",
            help="Leave preprocessing out: images come normalised, at the size that they are run at. Else pixels in "
            "[0, 255] come in.",
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            help="Images of one size alone; where not given, of any.", metavar="HEIGHTxWIDTH"
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images at a time; where not given, any number.", min=1)
    ] = None,
    deepness: Annotated[
        bool,
        typer.Option(
            "--deepness",
            help="For the QGIS plugin Deepness: probabilities of square images of one size, --size or 512.",
        ),
    ] = False,
    unpruned: Annotated[
        bool,
        typer.Option(
            "--unpruned",
            help="Of a model that drops tokens (DToP): the form that keeps them all. Else such a file takes one image "
            "at a time, and is faster the easier the image is.",
        ),
    ] = False,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8-dynamic", "int8-static"],
        typer.Option(
            help="Numbers: fp16 halves the file; bf16 (openvino, torch-export) and int8 run faster on processors that "
            "have them; int8-static is calibrated on --data."
        ),
    ] = "fp32",
    fastest: Annotated[
        bool,
        typer.Option(
            "--fastest",
            help="Try every format and precision that this device has on --data, and keep what labels fastest within "
            "--max-miou-loss; --out has no ending then.",
        ),
    ] = False,
    max_miou_loss: Annotated[
        float,
        typer.Option(
            help="With another precision and labelled --data: points of mIoU that may be lost.",
            min=0,
        ),
    ] = 0.5,
    data: options.OptionalData = None,
    split: options.HeldOutSplit = None,
    count: Annotated[
        int, typer.Option(help="Images of --data to compare on; 0: all.", min=0)
    ] = PHOTOS,
) -> None:
    """Write a trained model for another runtime, and prove that its labels are the same.

    Compared are made images of many sizes and, with --data, photos. Where more than 0.1 % of the labels differ, the
    command fails and leaves no file. Needs: pip install 'vitseg[export]'.
    """
    from vitseg.checkpoint.places import find_model_dir
    from vitseg.cli.default_split import held_out_split
    from vitseg.export.export import ExportOptions, export_model, parity_place

    only = None if size is None else options.parse_size(size)
    chosen = ExportOptions(
        format,
        form,
        not outside,
        not outside,
        only,
        batch,
        precision,
        max_miou_loss / 100,
        unpruned=unpruned,
    )
    if deepness:
        chosen = for_deepness(chosen)
    found = find_model_dir(model)
    photos = ()
    if data is not None:
        photos = DatasetPhotos(found, data, held_out_split(data, found, split), count)
    if fastest:
        write_fastest(found, out, chosen, photos)
        return
    record, parity = export_model(found, out, chosen, photos)
    tell(record, parity, out)
    typer.echo(f"-> {out} ({record.format}, {record.form}); the comparison: {parity_place(out)}")


def write_fastest(model: Path, out: Path, chosen: ExportOptions, photos: Photos) -> None:
    """Try all, keep one, and say what became of the others.

    Raises:
        ConfigError: A format or precision was asked for, which are chosen here; or there are no photos.
    """
    from vitseg.errors import ConfigError
    from vitseg.export.fastest import TORCH, export_fastest, report, report_place
    from vitseg.files import write_json

    if chosen.format != "onnx" or chosen.precision != "fp32":
        raise ConfigError(
            "--fastest chooses format and precision: leave --format and --precision out."
        )
    found = export_fastest(
        model,
        out,
        chosen,
        photos,
        lambda attempt: frame.say(
            f"{attempt.name}: {'written' if attempt.refused is None else attempt.refused}"
        ),
    )
    write_json(report_place(found.out), report(found))
    tell(found.record, found.parity, found.out)
    frame.show(fastest_table(found))
    times = found.times
    slower = [name for name, each in times.items() if each > times[TORCH]]
    if slower:
        frame.say(f"slower than {TORCH}: {'; '.join(slower)}")
    if min(times, key=times.__getitem__).startswith("torch,"):
        frame.say(
            "the model directory itself is the fastest here: vitseg predict --dtype fp32 or bf16"
        )
    typer.echo(f"-> {found.out} ({found.name}); all that was tried: {report_place(found.out)}")


def fastest_table(found: Fastest):
    """A row for each way to run the model."""
    from rich.table import Table

    from vitseg.export.fastest import TORCH

    table = Table("", "ms per image", "of torch", "labels differ", "mIoU lost", "MB")
    for one in sorted(found.attempts, key=lambda one: one.milliseconds or float("inf")):
        photos = None if one.parity is None else one.parity.photos
        lost = None if one.parity is None else one.parity.miou_loss
        if one.milliseconds is None:
            table.add_row(one.name, "refused")
            continue
        table.add_row(
            one.name + (" (kept)" if one.name == found.name else ""),
            f"{one.milliseconds:.1f}",
            f"{one.milliseconds / found.times[TORCH]:.2f}",
            "" if photos is None else f"{100 * photos.share:.3f} %",
            "" if lost is None else f"{100 * lost:.2f}",
            f"{one.bytes / 1e6:.1f}" if one.bytes else "",
        )
    return table


def for_deepness(chosen: ExportOptions) -> ExportOptions:
    """What Deepness reads: probabilities of square tiles of one size, which it cuts itself.

    Raises:
        ConfigError: Other options say something else.
    """
    from dataclasses import replace

    from vitseg.errors import ConfigError

    size = chosen.size or (512, 512)
    if size[0] != size[1]:
        raise ConfigError(f"--deepness: its tiles are square, but --size is {size[0]}x{size[1]}.")
    if chosen.format != "onnx" or chosen.form == "labels":
        raise ConfigError(
            "--deepness reads probabilities from ONNX: leave --format and --form out."
        )
    return replace(chosen, form="probs", size=size, resizes=False)


class DatasetPhotos:
    """Images of a data set, evenly over it, as a model reads them.

    Args:
        model: Model directory.
        data: NAME:ROOT.
        split: Its split.
        count: Images; 0: all.
    """

    def __init__(self, model: Path, data: str, split: str, count: int):
        from vitseg.checkpoint.model_dir import read_record
        from vitseg.data.catalog import open_dataset
        from vitseg.evaluation.evaluate import joined_as_trained

        record: ModelRecord = read_record(model)
        dataset = joined_as_trained(open_dataset(data, split), data, record)
        self.dataset = dataset.read_as(record.preprocessing.bands, record.preprocessing.limits)
        self.places = range(len(dataset))
        if count and count < len(dataset):
            self.places = [index * len(dataset) // count for index in range(count)]
        self.is_known = dataset.classes.names == record.classes.names

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> LabelledPhoto:
        from vitseg.export.photos import LabelledPhoto

        sample = self.dataset[self.places[index]]
        return LabelledPhoto(sample.image, sample.label_map if self.is_known else None)


def tell(record: ExportRecord, parity: Parity, out: Path) -> None:
    """Print the table of what was compared, and what the file leaves to whoever uses it."""
    from rich.table import Table

    from vitseg.export.comparison import left_out

    table = Table("images", "pixels", "labels differ", "their gap", "max diff.", "mean diff.")
    for one in parity.all:
        table.add_row(
            one.name,
            f"{one.pixels:,}",
            f"{one.differing:,} ({100 * one.share:.3f} %)",
            f"{one.largest_gap:.1e}" if one.differing else "",
            "" if one.max_difference is None else f"{one.max_difference:.1e}",
            "" if one.mean_difference is None else f"{one.mean_difference:.1e}",
        )
    frame.show(f"{parity.runtime} beside torch:", table)
    if parity.times is not None:
        height, width = parity.times.size
        frame.show(
            f"{width}x{height}, {parity.times.threads} threads: {parity.times.model:.1f} ms by torch, "
            f"{parity.times.file:.1f} ms by the file"
        )
    if parity.miou is not None and parity.miou_found is not None:
        frame.show(
            f"mIoU {frame.percent(parity.miou)} by the model, {frame.percent(parity.miou_found)} by the file"
        )
    if left := left_out(record):
        frame.say(
            f"of the model's protocol the file leaves out: {'; '.join(left)}. It was compared with the model without."
        )
