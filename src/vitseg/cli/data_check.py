"""`vitseg data check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options

if TYPE_CHECKING:
    from rich.console import Console

    from vitseg.checks.report import CheckReport
    from vitseg.data.finding import Finding

MAX_FILES = 3
"""Files that the screen names of a finding; `--json` and `--html` name more."""

MAX_CLASSES = 40
"""Classes that the screen lists."""

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def check(
    data: options.DataArgument,
    *,
    split: Annotated[
        list[str] | None, typer.Option(help="Check this split only. Repeatable. Else: all.")
    ] = None,
    json_file: options.JsonFile = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with pictures to this file.")
    ] = None,
    workers: options.Readers = None,
    merge: options.Merge = None,
    ignore: options.Ignore = None,
) -> None:
    """Read a whole data set and report label mistakes, worst first. Exits with 1 if there are errors."""
    from rich.console import Console

    from vitseg.checks.page import write_check_page
    from vitseg.checks.run import check_dataset
    from vitseg.files import write_whole

    frame.require_place("--html", html_file)
    with frame.progress() as progress:
        task = progress.add_task("check", total=None)
        report = check_dataset(
            data,
            split or (),
            options.parse_merge(merge),
            ignore or (),
            workers,
            on_start=lambda total: progress.update(task, total=total),
            on_image=lambda: progress.advance(task),
        )
    print_report(report, Console(emoji=False))  # a folder may be named so that it reads ":car:"
    if json_file is not None:
        text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
        write_whole(json_file, text + "\n")
    if html_file is not None:
        write_check_page(html_file, report)
    if report.num_errors:
        raise typer.Exit(1)


def print_report(report: CheckReport, console: Console) -> None:
    """Print the splits, the classes, the findings and, last, the verdict."""
    console.print(_split_table(report))
    if report.named:
        console.print(_class_table(report))
    console.print(_finding_table(report.findings))
    counts = (report.num_errors, "error"), (report.num_warnings, "warning")
    verdict = " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)
    style = "red" if report.num_errors else "yellow" if report.num_warnings else "green"
    text = f"{report.spec}: {verdict}. {report.coverage.sentence()}."
    console.print(text, style=style, markup=False, soft_wrap=True)


def _finding_table(findings: tuple[Finding, ...]):
    from rich.table import Table
    from rich.text import Text

    table = Table(title="findings, worst first", show_lines=True)
    table.add_column("severity")
    table.add_column("finding and what to do", overflow="fold")
    table.add_column("count", justify="right")
    for finding in findings:
        style = _STYLES[finding.severity]
        text = Text(finding.code, style=style)
        text.append(f"\n{finding.message}", style="default")
        text.append(f"\n→ {finding.fix}", style="default")
        named = [file for file in finding.files[:MAX_FILES] if file not in finding.message]
        for file in named:
            text.append(f"\n  {file}", style="dim")
        if named and finding.count > MAX_FILES:
            text.append(f"\n  and {finding.count - MAX_FILES:,} more", style="dim")
        table.add_row(Text(finding.severity, style=style), text, f"{finding.count:,}")
    return table


def _split_table(report: CheckReport):
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(report.spec))
    for column in ("split", "images", "readable masks", "median size", "what was found"):
        table.add_column(column, overflow="fold")
    for split in report.splits:
        size = "-" if split.median is None else f"{split.median[1]}x{split.median[0]}"
        counts = (f"{split.num_images:,}", f"{split.num_masks:,}")
        table.add_row(split.name, *counts, size, Text(split.dataset.source))
    return table


def _class_table(report: CheckReport):
    from rich.table import Table
    from rich.text import Text

    names = report.classes.names
    pixels = [sum(int(split.pixels[k]) for split in report.splits) for k in range(len(names))]
    total = max(1, sum(pixels))
    order = sorted(range(len(names)), key=lambda k: -pixels[k])
    hidden = len(order) - MAX_CLASSES
    caption = f"and {hidden} rarer classes: --json and --html list all" if hidden > 0 else None
    table = Table(title="classes, commonest first", caption=caption)
    for column in ("class", "pixels", *(f"images in {split.name}" for split in report.splits)):
        table.add_column(Text(column), justify="left" if column == "class" else "right")
    table.add_column("objects", justify="right")
    table.add_column("tiny", justify="right")
    for k in order[:MAX_CLASSES]:
        objects = sum(int(split.objects[k]) for split in report.splits)
        tiny = sum(int(split.tiny[k]) for split in report.splits)
        images = (f"{int(split.images[k]):,}" for split in report.splits)
        share = f"{tiny / objects:.0%}" if objects else "-"
        table.add_row(Text(names[k]), f"{pixels[k] / total:.3%}", *images, f"{objects:,}", share)
    return table
