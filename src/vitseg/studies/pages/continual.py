"""The page of learning in steps: the curve of the first classes, and the tables. No script, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vitseg.classes import Color
from vitseg.render.page_parts import fact_cards, table, write_page
from vitseg.studies.pages.chart_parts import (
    COLORS,
    LEFT,
    RIGHT,
    free_height,
    score_axis,
    score_chart,
    text,
    upright,
)


@dataclass(frozen=True)
class Curve:
    """A run's line.

    Attributes:
        name: What it is called.
        scores: MIoU of the first step's classes after every step, in [0, 1] or NaN; of an oracle, of its only one.
        is_oracle: Whether it learnt all classes at once; then it is a dashed line across the chart.
    """

    name: str
    scores: tuple[float, ...]
    is_oracle: bool


@dataclass(frozen=True)
class Lines:
    """A table as text.

    Attributes:
        title: Heading.
        note: What the numbers are.
        head: Names of the columns, the first that of the rows' names.
        rows: The cells.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_continual(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    learnt: Sequence[int],
    curves: Sequence[Curve],
    tables: Sequence[Lines],
) -> None:
    """Write the page; its folder is created.

    Args:
        path: The HTML file; replaced if it exists.
        title: Heading.
        facts: The protocol, short values under short names.
        learnt: Number of classes learnt after every step.
        curves: Lines of the chart; it is left out where none has a score.
        tables: The tables, in order.
    """
    sections = [fact_cards(facts)]
    if any(not math.isnan(score) for curve in curves for score in curve.scores):
        sections += [
            "<h2>The first step's classes after every step</h2>",
            base_chart(learnt, curves),
            '<p class="soft">Dashed: trained on all classes at once.</p>',
        ]
    for lines in tables:
        if lines.rows:
            sections += [f"<h2>{escape(lines.title)}</h2>", _table(lines)]
            sections.append(f'<p class="soft">{escape(lines.note)}</p>')
    write_page(path, title, sections)


def base_chart(learnt: Sequence[int], curves: Sequence[Curve]) -> str:
    """Figure 4.8: mIoU of the first step's classes over the number of classes learnt.

    Args:
        learnt: Number of classes learnt after every step.
        curves: The lines.
    """
    known = [score for curve in curves for score in curve.scores if not math.isnan(score)]
    y, parts = score_axis(known)
    span = max(1, learnt[-1] - learnt[0])

    def x(count: int) -> float:
        return LEFT + (RIGHT - LEFT) * (count - learnt[0]) / span

    for count in learnt:
        parts += upright(x(count), str(count))
    taken: list[tuple[float, float]] = []
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        scores = curve.scores * len(learnt) if curve.is_oracle else curve.scores
        points = [
            (x(count), y(score), score)
            for count, score in zip(learnt, scores, strict=False)
            if not math.isnan(score)
        ]
        if not points:
            continue
        parts += _line(curve, points, color)
        height = free_height(points[-1][1] - 8, taken)
        taken.append((RIGHT, height))
        label = text(RIGHT - 6, height, curve.name, "end")
        parts.append(label.replace("<text ", f'<text style="fill:rgb{color}" ', 1))
    summary = f"mIoU of the first step's classes after each of {len(learnt)} steps; " + ", ".join(
        f"{curve.name} ends at {100 * curve.scores[-1]:.1f} %" for curve in curves
    )
    return score_chart(summary, "classes learnt", parts)


def _line(curve: Curve, points: Sequence[tuple[float, float, float]], color: Color) -> list[str]:
    """The joined points, each with its numbers for a pointer that rests on it."""
    places = " ".join(f"{at:.1f},{height:.1f}" for at, height, _ in points)
    dashes = ";stroke-dasharray:6 5" if curve.is_oracle else ""
    parts = [f'<polyline class="line" style="stroke:rgb{color}{dashes}" points="{places}"/>']
    if not curve.is_oracle:
        parts += [
            f'<circle style="fill:rgb{color}" cx="{at:.1f}" cy="{height:.1f}" r="4">'
            f"<title>{escape(curve.name)}: {100 * score:.2f} %</title></circle>"
            for at, height, score in points
        ]
    return parts


def _table(lines: Lines) -> str:
    head = f'<th scope="col">{escape(lines.head[0])}</th>' + "".join(
        f'<th scope="col" class="number">{escape(name)}</th>' for name in lines.head[1:]
    )
    rows = [
        f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[1:])
        for row in lines.rows
    ]
    return table(head, rows)
