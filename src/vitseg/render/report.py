"""The report of an evaluation as one self-contained HTML file.

Tables and curves are plain HTML and SVG; a script in the page sorts the table, draws the confusion matrix and paints
the pictures of the samples from compressed label maps. A content security policy forbids every request and every script
but this one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from vitseg.files import write_whole
from vitseg.render.page_parts import STYLE
from vitseg.render.report_charts import (
    class_table,
    percent,
    reliability_chart,
    size_table,
    trimap_chart,
)
from vitseg.render.report_data import ReportData, SampleView
from vitseg.render.thumbnail import CONFIDENCE_LEVELS, index_type

FILE_NAME = "report.html"
SCRIPTS = ("pictures.js", "matrix.js", "samples.js", "page.js")
"""Parts of the script, in order."""


def write_report(folder: Path, data: ReportData) -> Path:
    """Write `report.html` and return its path; the folder is created, a report in it replaced.

    The file appears whole or not at all: it is written beside its place and then moved.

    Args:
        folder: Where to write.
        data: What to show.

    Raises:
        OSError: The place cannot be written, or the disk is full.
    """
    path = folder / FILE_NAME
    write_whole(path, report_page(data))
    return path


def report_page(data: ReportData) -> str:
    """The page as text."""
    style = STYLE + _asset("style.css")
    parts = "\n".join(_asset(name) for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    sections = _sections(data)
    links = "\n".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "\n".join(
        f'<section id="{name}">\n<h2>{title}</h2>\n{content}\n</section>'
        for name, title, content in sections
    )
    title = escape(data.title)
    # In a script element only "<" could end the element or open a comment; JSON has it in strings alone.
    payload = json.dumps(_payload(data), separators=(",", ":")).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body class="report">
<header>
<p class="kind">Evaluation</p>
<h1>{title}</h1>
</header>
<nav aria-label="Sections"><div>
{links}
</div></nav>
<main>
{body}
<noscript><p class="soft">The confusion matrix and the pictures are drawn by a script in this file, which is switched
off in this browser.</p></noscript>
</main>
<div id="tip" hidden></div>
<dialog id="sample-dialog" aria-labelledby="sample-title"></dialog>
<script type="application/json" id="report-data">{payload}</script>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (files("vitseg.render") / "report_page" / name).read_text(encoding="utf-8")


def _sections(data: ReportData) -> list[tuple[str, str, str]]:
    """(anchor, title, content) of every section that has something to show."""
    sections = [
        ("summary", "Summary", _summary(data)),
        ("classes", "Classes", class_table(data.classes)),
        ("confusion", "Confusion", _CONFUSION),
    ]
    cards = _measure_cards(data)
    if cards:
        sections.append(("measures", "Boundaries, confidence, sizes", cards))
    if data.worst:
        sections.append(("worst", "Worst images", _GALLERY))
    return sections


def _summary(data: ReportData) -> str:
    scores = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{percent(value)}</dd></div>"
        for name, value in data.headline.items()
    )
    facts = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in data.protocol.items()
    )
    return (
        f'<dl class="headline">\n{scores}\n</dl>\n<h3>Protocol</h3>\n'
        f'<dl class="protocol">\n{facts}\n</dl>'
    )


_CONFUSION = """<p class="soft">A row is a labelled class, a column what was predicted. Colour is the share of the row,
on a logarithmic scale: <span class="key hit">right</span> on the diagonal, <span class="key miss">wrong</span> beside
it. Click a cell, or move with the arrow keys and press Enter, to see the images with most of its pixels.</p>
<div class="matrix-row">
<div class="matrix-part"><div id="matrix" class="matrix"></div><div id="matrix-scale" class="scale"></div></div>
<div class="largest"><h3>Largest confusions</h3><ol id="largest"></ol></div>
</div>
<p id="matrix-status" class="hidden-text" aria-live="polite"></p>
<div id="cell" class="cell" role="region" aria-label="Images of the chosen cell" hidden></div>"""

_GALLERY = """<p class="soft">Ordered by the mean IoU over the classes that are labelled in the image. Click an image to
enlarge it and to read classes under the pointer.</p>
<ul class="legend"><li><span class="patch error"></span>wrong</li><li><span class="patch right"></span>right</li>
<li><span class="patch ignored"></span>ignored</li><li class="ramp">confidence 0 %<canvas id="ramp" width="120"
height="10" aria-hidden="true"></canvas>100 %</li></ul>
<div id="gallery"></div>"""


def _measure_cards(data: ReportData) -> str:
    cards = []
    if data.trimap:
        cards.append(
            "<h3>Near boundaries</h3>"
            '<p class="soft">mIoU of the pixels within a band around the labelled boundaries (trimap).</p>'
            + trimap_chart(data.trimap, data.miou)
        )
    if data.reliability:
        cards.append(
            f"<h3>Calibration, ECE {percent(data.ece)}</h3>"
            '<p class="soft">How often a pixel is right, by the confidence of the prediction. Below the dashed line, '
            "the model is too sure.</p>" + reliability_chart(data.reliability)
        )
    if data.sizes:
        cards.append(
            '<h3>Object sizes</h3><p class="soft">IoU of connected regions of one label, by their area.</p>'
            + size_table(data.sizes)
        )
    if not cards:
        return ""
    return (
        '<div class="cards">'
        + "\n".join(f'<div class="card">{card}</div>' for card in cards)
        + "</div>"
    )


def _payload(data: ReportData) -> dict[str, Any]:
    """What the script reads. Ids are listed once and named by position: cells repeat them often."""
    ids: dict[str, int] = {}

    def number(sample_id: str) -> int:
        return ids.setdefault(sample_id, len(ids))

    samples = [_sample(view, number(view.id)) for view in data.samples.values()]
    cells = [
        [label, predicted, [[number(sample_id), pixels] for sample_id, pixels in images]]
        for (label, predicted), images in data.cell_images.items()
    ]
    return {
        "classes": [{"name": score.name, "color": list(score.color)} for score in data.classes],
        "confusion": data.confusion.tolist(),
        "cells": cells,
        "samples": samples,
        "worst": [number(sample_id) for sample_id in data.worst],
        "ids": list(ids),
        "indexBytes": 1 if index_type(len(data.classes)) == "u1" else 2,
        "levels": CONFIDENCE_LEVELS,
    }


def _sample(view: SampleView, number: int) -> dict[str, Any]:
    picture = view.thumbnail
    return {
        "id": number,
        "miou": None if math.isnan(view.miou) else view.miou,
        "accuracy": None if math.isnan(view.accuracy) else view.accuracy,
        "confusions": [[part.label, part.predicted, part.pixels] for part in view.confusions],
        "height": picture.size[0],
        "width": picture.size[1],
        "image": f"data:image/jpeg;base64,{_base64(picture.image)}",
        "labels": _base64(picture.labels),
        "prediction": _base64(picture.prediction),
        "confidence": None if picture.confidence is None else _base64(picture.confidence),
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
