"""The drawn parts of the report: class table, trimap curve, reliability curve, bars by object size.

Charts are inline SVG that takes its colours from the page's style, so that they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from vitseg.render.page_parts import swatch
from vitseg.render.report_data import ClassScore, ReliabilityBin, SizeScore

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 424, 18, 248
"""View box of a chart in SVG units, and the plot within it; the rest is for labels."""


def percent(share: float, digits: int = 2) -> str:
    """A share as text; a dash where it is undefined."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f} %"


def class_table(classes: Sequence[ClassScore]) -> str:
    """Scores by class with bars; the headers are buttons, by which the script sorts."""
    total = max(1, sum(score.pixels for score in classes))
    columns: list[tuple[str, str, list[float]]] = [
        ("IoU", "", [score.iou for score in classes]),
        ("Accuracy", "", [score.accuracy for score in classes]),
    ]
    for name, values in (
        ("Dice", [score.dice for score in classes]),
        ("Boundary IoU", [score.boundary_iou for score in classes]),
    ):
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            columns.append((name, "", known))
    columns.append(("Pixels", "quiet", [score.pixels / total for score in classes]))
    head = "".join(
        f'<th scope="col"><button type="button" class="sort">{name}</button></th>'
        for name in ("Class", *(name for name, _, _ in columns))
    )
    lines = []
    for index, score in enumerate(classes):
        cells = "".join(_score_cell(values[index], kind) for _, kind, values in columns)
        lines.append(
            f'<tr><th scope="row" data-value="{index}"><span class="name">{swatch(score.color)}'
            f"{escape(score.name)}</span></th>{cells}</tr>"
        )
    body = "\n".join(lines)
    return (
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Scores by class">'
        f'<table id="class-table" class="scores"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _score_cell(value: float, kind: str) -> str:
    """A number and its bar; the value that the table is sorted by stands in an attribute, -1 where undefined."""
    undefined = math.isnan(value)
    width = 0.0 if undefined else 100 * value
    return (
        f'<td data-value="{-1 if undefined else value:.6f}"><div class="score {kind}"><span>{percent(value)}</span>'
        '<svg height="6" aria-hidden="true"><rect class="track" width="100%" height="6" rx="3"/>'
        f'<rect class="fill" width="{width:.2f}%" height="6" rx="3"/></svg></div></td>'
    )


def trimap_chart(points: Sequence[tuple[int, float]], overall: float) -> str:
    """MIoU of the bands around boundaries over their width, on a logarithmic axis; dashed: mIoU of all pixels."""
    known = [(width, score) for width, score in points if not math.isnan(score)]
    scores = [score for _, score in known] + ([] if math.isnan(overall) else [overall])
    low = math.floor(10 * min(scores, default=0.0)) / 10
    high = max(low + 0.1, math.ceil(10 * max(scores, default=1.0)) / 10)
    first, last = math.log(points[0][0]), math.log(max(points[-1][0], points[0][0] + 1))

    def x(width: float) -> float:
        return LEFT + 12 + (RIGHT - LEFT - 24) * (math.log(width) - first) / (last - first)

    def y(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - low) / (high - low)

    parts = [_grid_line(y(tick), f"{100 * tick:.0f}") for tick in _ticks(low, high)]
    for width, _ in points:
        parts.append(_text(x(width), BOTTOM + 20, str(width)))
    if not math.isnan(overall):
        parts.append(
            f'<line class="limit" x1="{LEFT}" x2="{RIGHT}" y1="{y(overall):.1f}" y2="{y(overall):.1f}"/>'
        )
        parts.append(_text(LEFT + 6, y(overall) - 6, f"all pixels {percent(overall, 1)}", "start"))
    places = " ".join(f"{x(width):.1f},{y(score):.1f}" for width, score in known)
    parts.append(f'<polyline class="line" points="{places}"/>')
    for width, score in known:
        parts.append(_dot(x(width), y(score), f"within {width} px: {percent(score)}"))
    ends = " to ".join(
        f"{percent(score)} within {width} px" for width, score in known[:: max(1, len(known) - 1)]
    )
    return _chart(f"Trimap mIoU: {ends}", parts, "band width (px)", "mIoU (%)")


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy over confidence, beside the diagonal of a calibrated model; below it the share of pixels by bin."""
    base = 192  # the shares stand between here and BOTTOM

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * value

    def y(value: float) -> float:
        return base - (base - TOP) * value

    parts = [_grid_line(y(tick), f"{100 * tick:.0f}") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts += [
        _text(x(tick), BOTTOM + 20, f"{100 * tick:.0f}") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    parts.append(f'<line class="limit" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    most = max((part.share for part in bins), default=0.0) or 1.0
    for part in bins:
        tall = (BOTTOM - base - 12) * part.share / most
        parts.append(
            f'<rect class="share" x="{x(part.low) + 1:.1f}" y="{BOTTOM - tall:.1f}" '
            f'width="{max(1, x(part.high) - x(part.low) - 2):.1f}" height="{tall:.1f}">'
            f"<title>{percent(part.low, 0)} to {percent(part.high, 0)} sure: {percent(part.share, 1)} of the pixels"
            "</title></rect>"
        )
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>')
    parts.append(_text(LEFT - 8, BOTTOM - 14, "share", "end"))
    known = [part for part in bins if not math.isnan(part.accuracy)]
    places = " ".join(f"{x(part.confidence):.1f},{y(part.accuracy):.1f}" for part in known)
    parts.append(f'<polyline class="line" points="{places}"/>')
    for part in known:
        label = f"{percent(part.confidence, 1)} sure, {percent(part.accuracy, 1)} right"
        parts.append(_dot(x(part.confidence), y(part.accuracy), label))
    summary = "; ".join(
        f"{percent(part.confidence, 0)} sure, {percent(part.accuracy, 0)} right" for part in known
    )
    return _chart(f"Reliability: {summary}", parts, "confidence (%)", "right (%)", (TOP + base) / 2)


def size_table(sizes: Sequence[SizeScore]) -> str:
    """IoU by object size, as bars."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(size.name)}<small>{escape(size.area)}</small></th>'
        f'{_score_cell(size.miou, "")}<td class="number">{size.objects:,}</td></tr>'
        for size in sizes
    )
    return (
        '<table class="scores plain"><thead><tr><th scope="col">Objects</th><th scope="col">mIoU</th>'
        f'<th scope="col" class="number">Count</th></tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    )


def _ticks(low: float, high: float) -> list[float]:
    step = 0.1 if high - low <= 0.55 else 0.2
    return [low + step * index for index in range(math.floor((high - low) / step + 1e-6) + 1)]


def _grid_line(y: float, label: str) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(LEFT - 8, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dot(x: float, y: float, label: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(label)}</title></circle>'


def _chart(
    summary: str,
    parts: Sequence[str],
    x_name: str,
    y_name: str,
    y_middle: float = (TOP + BOTTOM) / 2,
) -> str:
    """A chart with the names of its axes; `summary` is for readers who do not see it."""
    names = _text((LEFT + RIGHT) / 2, BOTTOM + 42, x_name) + (
        f'<text x="14" y="{y_middle}" text-anchor="middle" transform="rotate(-90 14 {y_middle})">{y_name}</text>'
    )
    content = "\n".join([*parts, names])
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">\n'
        f"{content}\n</svg>"
    )
