"""A summary of a run as one self-contained HTML file: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vitseg.classes import Color
from vitseg.render.page_parts import bar_cell, fact_cards, figure, swatch, table, write_page


class ClassRow(NamedTuple):
    """A line of the class table; scores in [0, 1], nan where the class does not occur."""

    name: str
    iou: float
    acc: float
    color: Color | None = None


def write_summary_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    class_rows: Sequence[ClassRow] = (),
    images: Sequence[tuple[str, Image.Image]] = (),
    curve: Sequence[tuple[int, float]] = (),
) -> None:
    """Write the page; parts that are empty are left out. The parent folder is created.

    Args:
        path: The HTML file; replaced if it exists.
        title: Heading of the page.
        facts: Short values under short names ("mIoU" -> "87.2 %"), shown in this order.
        class_rows: Scores per class.
        images: (caption, picture); the caption is also the text for readers who do not see the picture.
        curve: (iteration, mIoU in [0, 1]) of each validation, in order.
    """
    sections = [fact_cards(facts)]
    if images:
        sections += [
            "<h2>Pictures</h2>",
            *(figure(caption, picture) for caption, picture in images),
        ]
    if class_rows:
        sections += ["<h2>Classes</h2>", _class_table(class_rows)]
    if curve:
        sections += ["<h2>Validation during training</h2>", _curve(curve)]
    write_page(path, title, sections)


def _class_table(rows: Sequence[ClassRow]) -> str:
    lines = [
        f'<th scope="row">{swatch(row.color)}{escape(row.name)}</th>'
        f'<td class="number">{_percent(row.iou)}</td><td class="number">{_percent(row.acc)}</td>'
        f"{bar_cell(0.0 if math.isnan(row.iou) else row.iou)}"
        for row in rows
    ]
    head = (
        '<th scope="col">Class</th><th scope="col" class="number">IoU</th>'
        '<th scope="col" class="number">Accuracy</th><td></td>'
    )
    return table(head, lines)


def _curve(points: Sequence[tuple[int, float]]) -> str:
    """An SVG line over a grid; the view box is 720 x 300 and the plot leaves room for the labels."""
    left, right, top, bottom = 56, 700, 20, 252
    last = max(iteration for iteration, _ in points)

    def x(iteration: float) -> float:
        return left + (right - left) * iteration / max(last, 1)

    def y(score: float) -> float:
        return bottom - (bottom - top) * score

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>'
        )
    for tick in sorted({round(last * step / 4) for step in range(5)}):
        parts.append(
            f'<text x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{tick}</text>'
        )
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 40}" text-anchor="middle">iteration</text>'
    )
    parts.append(
        '<text x="16" y="136" text-anchor="middle" transform="rotate(-90 16 136)">mIoU (%)</text>'
    )
    shown = [(iteration, score) for iteration, score in points if not math.isnan(score)]
    places = " ".join(f"{x(iteration):.1f},{y(score):.1f}" for iteration, score in shown)
    parts.append(f'<polyline class="line" points="{places}"/>')
    parts += [
        f'<circle cx="{x(iteration):.1f}" cy="{y(score):.1f}" r="4">'
        f"<title>{iteration}: {_percent(score)}</title></circle>"
        for iteration, score in shown
    ]
    first, end = points[0], points[-1]
    summary = f"mIoU from {_percent(first[1])} at iteration {first[0]} to {_percent(end[1])} at iteration {end[0]}"
    return (
        f'<svg class="curve" viewBox="0 0 720 300" role="img" aria-label="{summary}">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"
