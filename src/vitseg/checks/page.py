"""The report of a check as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vitseg.checks.facts import UNKNOWN, Place, count_values
from vitseg.checks.report import CheckReport, SplitReport
from vitseg.classes import IGNORE_INDEX, Color
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.errors import DataError
from vitseg.images.band_reader import decode_bands
from vitseg.images.bands import to_rgb
from vitseg.images.decode import decode_image
from vitseg.images.value_range import Unstated
from vitseg.render.contact_sheet import contact_sheet, size_on_sheet
from vitseg.render.page_parts import bar_cell, fact_cards, figure, swatch, table, write_page
from vitseg.render.palette import IGNORE_COLOR

UNKNOWN_COLOR = (255, 0, 255)
"""Colour of pixels whose id the table lacks."""

_HEIGHT = 220


def write_check_page(path: Path, report: CheckReport) -> None:
    """Write the page: facts, findings with pictures of up to three files, classes, sizes.

    Args:
        path: The HTML file; replaced if it exists. The parent folder is created.
        report: What the check found.
    """
    facts = {
        "Images": f"{report.coverage.listed:,}",
        "Read": f"{report.coverage.read:,}",
        "Classes": str(report.classes.num_classes) if report.named else "not named",
        "Errors": str(report.num_errors),
        "Warnings": str(report.num_warnings),
        "Crop size that suits": _size(report.crop_size),
    }
    if report.coverage.on_disk is not None:
        facts["Pictures on disk"] = f"{report.coverage.on_disk:,}"
    sections = [fact_cards(facts), "<h2>Findings</h2>"]
    sections += [_finding(report, finding) for finding in report.findings]
    if report.named:
        sections += ["<h2>Classes</h2>", _class_table(report)]
    sections += ["<h2>Splits</h2>", _split_table(report)]
    write_page(path, f"Check of {report.spec}", sections)


def _finding(report: CheckReport, finding: Finding) -> str:
    files = "".join(f"<li>{escape(file)}</li>" for file in finding.files)
    more = finding.count - len(finding.files)
    files += f"<li>and {more:,} more</li>" if files and more > 0 else ""
    pictures = ""
    if finding.severity != "info":
        pictures = "\n".join(
            _preview(report, place) for place in report.examples.get(finding.code, ())
        )
    return (
        f'<article class="{finding.severity}"><h3>{finding.severity}: {escape(finding.code)}</h3>\n'
        f"<p>{escape(finding.message)}</p>\n<p>{escape(finding.fix)}</p>\n"
        f"{f'<ul>{files}</ul>' if files else ''}\n{pictures}</article>"
    )


def _preview(report: CheckReport, place: Place) -> str:
    """A sample side by side: the image, and the mask in the colours of its classes."""
    dataset = report.splits[place.split].dataset
    pictures, headers = [], []
    for header, draw in (("image", _image), ("mask", _mask)):
        try:
            pictures.append(draw(dataset, place.index))
            headers.append(header)
        except (DataError, OSError):
            continue  # the finding says why
    if not pictures:
        return ""
    return figure(dataset.mask_name(place.index), contact_sheet([pictures], headers, _HEIGHT))


def _image(dataset: SegmentationDataset, index: int) -> Image.Image:
    source = dataset.image_source(index)
    if dataset.bands is not None:
        return Image.fromarray(to_rgb(decode_bands(source, dataset.bands).pixels, dataset.bands))
    return Image.fromarray(decode_image(source, value_range=Unstated.OWN_VALUES))


def _mask(dataset: SegmentationDataset, index: int) -> Image.Image:
    """The mask as its classes; where it holds colours by mistake, as the picture that it is."""
    try:
        raw_ids = dataset.raw_ids(index)
    except DataError:
        path = dataset.mask_picture(index)
        if path is None:
            raise
        pixels = decode_image(path)
        raw_ids = pixels[:, :, 0]
        if (pixels != raw_ids[:, :, None]).any():
            return Image.fromarray(pixels)
    ids, _, where = count_values(raw_ids)
    colors = np.array([_color(dataset, raw) for raw in ids.tolist()], np.uint8)
    painted: UInt8[np.ndarray, "H W 3"] = colors[where]
    picture = Image.fromarray(painted)
    # scaled here without blending, since the sheet blends what is not indexed
    return picture.resize(size_on_sheet(picture.size, _HEIGHT), Image.Resampling.NEAREST)


def _color(dataset: SegmentationDataset, raw: int) -> Color:
    label = dataset.labels.mapping.get(raw, UNKNOWN)
    if label == UNKNOWN:
        return UNKNOWN_COLOR
    return IGNORE_COLOR if label == IGNORE_INDEX else dataset.classes.palette[label]


def _class_table(report: CheckReport) -> str:
    pixels = np.sum([split.pixels for split in report.splits], axis=0)
    total, largest = max(1, int(pixels.sum())), max(1, int(pixels.max()))
    head = '<th scope="col">Class</th><th scope="col" class="number">Pixels</th><td></td>'
    for split in report.splits:
        head += f'<th scope="col" class="number">Images in {escape(split.name)}</th>'
    head += '<th scope="col" class="number">Objects</th><th scope="col" class="number">Tiny</th>'
    rows = []
    for index in np.argsort(-pixels, kind="stable"):
        name, color = report.classes.names[index], report.classes.palette[index]
        objects = sum(int(split.objects[index]) for split in report.splits)
        tiny = sum(int(split.tiny[index]) for split in report.splits)
        cells = [f"{pixels[index] / total:.3%}"]
        row = f'<th scope="row">{swatch(color)}{escape(name)}</th>'
        row += f'<td class="number">{cells[0]}</td>{bar_cell(pixels[index] / largest)}'
        for split in report.splits:
            row += f'<td class="number">{int(split.images[index]):,}</td>'
        share = f"{tiny / objects:.0%}" if objects else "–"
        rows.append(f'{row}<td class="number">{objects:,}</td><td class="number">{share}</td>')
    return table(head, rows)


def _split_table(report: CheckReport) -> str:
    columns = ("Split", "Images", "Readable masks", "Smallest", "Median", "Largest", "Where")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return table(head, [_split_row(split) for split in report.splits])


def _split_row(split: SplitReport) -> str:
    cells = (
        f"{split.num_images:,}",
        f"{split.num_masks:,}",
        *map(_size, (split.smallest, split.median, split.largest)),
        escape(split.dataset.source),
    )
    return f'<th scope="row">{escape(split.name)}</th>' + "".join(
        f"<td>{cell}</td>" for cell in cells
    )


def _size(size: tuple[int, int] | None) -> str:
    return "–" if size is None else f"{size[1]} x {size[0]}"
