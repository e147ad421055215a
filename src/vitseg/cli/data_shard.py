"""`vitseg data shard`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitseg.cli import frame, options
from vitseg.cli.places import Before
from vitseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitseg.data.dataset import SegmentationDataset

_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_bytes(text: str) -> int:
    """The number of "256MB" or "1.5 GB".

    Raises:
        ConfigError: It is not written so.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(kB|MB|GB)", text)
    number = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if number <= 0:
        raise ConfigError(
            f"--shard-size {text!r} is not written as a number of kB, MB or GB: for example 256MB."
        )
    return number


def shard(
    data: options.DataArgument,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the shards: new, or to be gone on with.")],
    kind: Annotated[
        Literal["parquet", "webdataset"],
        typer.Option(
            "--format", help="Parquet files (needs vitseg[shards]), or tar files as WebDataset's."
        ),
    ] = "parquet",
    split: Annotated[
        list[str] | None, typer.Option(help="Write this split only. Repeatable. Else: all.")
    ] = None,
    shard_size: Annotated[
        str,
        typer.Option(help="Images and masks in a shard, in kB, MB or GB."),
        Before(lambda text, given: parse_bytes(text)),
    ] = "256MB",
    workers: options.Readers = None,
    merge: options.Merge = None,
    ignore: options.Ignore = None,
) -> None:
    """Write a data set into few large files, for object stores and disks that are slow with small ones.

    Image files are copied as they are, and read back with the same labels. An interrupted run continues where it was.
    """
    from vitseg.data.catalog import list_splits, open_dataset, require_one_table
    from vitseg.data.shards.parquet_file import require_pyarrow
    from vitseg.data.shards.write import require_free, write_shards
    from vitseg.machine import num_cores

    require_free(out)
    if kind == "parquet":
        require_pyarrow("--format parquet")
    joint = options.parse_merge(merge)
    opened = [open_dataset(data, each, joint, ignore or ()) for each in split or list_splits(data)]
    require_one_table(opened)
    datasets = {dataset.split: dataset for dataset in opened}
    _tell_findings(datasets)
    total = sum(len(dataset) for dataset in opened)
    again = frame.kept("Run the same command again to go on.")
    with again, frame.bar("shard", total) as on_samples:
        manifest = write_shards(
            datasets,
            out,
            kind,
            parse_bytes(shard_size),
            num_cores() if workers is None else workers,
            on_samples,
        )
    for name, written in manifest.splits.items():
        num_bytes = sum(each.num_bytes for each in written.shards)
        typer.echo(
            f"{name}: {len(datasets[name]):,} samples in {len(written.shards):,} shards, {num_bytes / 1e6:,.1f} MB"
        )
    typer.echo(f"Open it with --data {kind}:{out}")


def _tell_findings(datasets: Mapping[str, SegmentationDataset]) -> None:
    """Say what of a data set is left out, and so is not in its shards."""
    listed = dict.fromkeys(each for dataset in datasets.values() for each in dataset.findings)
    for finding in listed:
        if finding.severity == "warning":
            frame.say(f"warning: {finding.message} {finding.fix}", style="yellow")
