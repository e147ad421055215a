"""The page of a comparison: a chart of mIoU over the cost of the head, and the table. No script, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vitseg.render.page_parts import fact_cards, table, write_page

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 700, 24, 362
"""View box of the chart in SVG units, and the plot within it."""

SMALLEST, LARGEST = 5.0, 18.0
"""Radii of the points of the fastest and the slowest model."""

LINE_HEIGHT = 15
"""Least distance of names above each other."""


@dataclass(frozen=True)
class ComparedModel:
    """A line of the comparison; None where the training failed.

    Attributes:
        name: What the model is called.
        method: Its head.
        backbone: Its backbone.
        miou: In [0, 1].
        parameters: Of the whole model, in 10^6.
        head_parameters: Beyond the backbone, in 10^6.
        gmacs: Multiply-adds of the whole model, in 10^9.
        head_gmacs: Beyond the backbone, in 10^9.
        minutes: Of the training.
        time_ratio: Time of a prediction over that of the first model.
        error: Why the training failed.
    """

    name: str
    method: str
    backbone: str
    miou: float | None
    parameters: float | None
    head_parameters: float | None
    gmacs: float | None
    head_gmacs: float | None
    minutes: float | None
    time_ratio: float | None
    error: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The numbers as text, in the order of COLUMNS; a dash where there is none."""
        values = (
            (self.parameters, 1.0, ".2f"), (self.head_parameters, 1.0, ".2f"),
            (self.gmacs, 1.0, ".2f"), (self.head_gmacs, 1.0, ".2f"),
            (self.miou, 100.0, ".2f"), (self.minutes, 1.0, ".1f"), (self.time_ratio, 1.0, ".2f"),
        )  # fmt: skip
        return tuple(
            "–" if v is None or math.isnan(v) else f"{v * unit:{f}}" for v, unit, f in values
        )


COLUMNS = ("M params", "head", "GMACs", "head", "mIoU %", "minutes", "time ×")
"""Headers of `ComparedModel.cells`: each head's numbers are those beyond the backbone."""


def write_comparison(
    path: Path, title: str, facts: Mapping[str, str], models: Sequence[ComparedModel]
) -> None:
    """Write the page; its folder is created.

    Args:
        path: The HTML file; replaced if it exists.
        title: Heading.
        facts: The common budget, short values under short names.
        models: The lines, in order.
    """
    sections = [fact_cards(facts)]
    if _drawn(models):
        sections += [
            "<h2>Accuracy and cost of the head</h2>",
            comparison_chart(models),
            '<p class="soft">The larger a point, the longer a prediction takes. GMACs are 10<sup>9</sup> multiply-adds '
            "beyond those of the backbone.</p>",
        ]
    sections += ["<h2>Models</h2>", _table(models)]
    failed = [model for model in models if model.error is not None]
    if failed:
        sections.append("<h2>Failed</h2>")
        sections += [
            f'<article class="error"><h3>{escape(model.name)}</h3><p>{escape(model.error or "")}</p></article>'
            for model in failed
        ]
    write_page(path, title, sections)


def _table(models: Sequence[ComparedModel]) -> str:
    numbers = "".join(f'<th scope="col" class="number">{name}</th>' for name in COLUMNS)
    head = (
        f'<th scope="col">Model</th><th scope="col">Head</th><th scope="col">Backbone</th>{numbers}'
    )
    rows = [
        f'<th scope="row">{escape(model.name)}</th><td>{escape(model.method)}</td><td>{escape(model.backbone)}</td>'
        + "".join(f'<td class="number">{cell}</td>' for cell in model.cells)
        for model in models
    ]
    return table(head, rows)


def _drawn(models: Sequence[ComparedModel]) -> list[tuple[ComparedModel, float, float, float]]:
    """Models that have a place in the chart, with their head GMACs, mIoU and time."""
    drawn = []
    for model in models:
        cost, score, ratio = model.head_gmacs, model.miou, model.time_ratio
        if cost and ratio and score is not None and not math.isnan(score):
            drawn.append((model, cost, score, ratio))
    return drawn


def comparison_chart(models: Sequence[ComparedModel]) -> str:
    """MIoU over the head's GMACs, on a logarithmic axis; the area of a point grows with the time of a prediction."""
    drawn = _drawn(models)
    costs = _decades([cost for _, cost, _, _ in drawn])
    scores = _score_ticks([score for _, _, score, _ in drawn])

    def x(cost: float) -> float:
        share = math.log(cost / costs[0]) / math.log(costs[-1] / costs[0])
        return LEFT + (RIGHT - LEFT) * share

    def y(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - scores[0]) / (scores[-1] - scores[0])

    parts = []
    for score in scores:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(score):.1f}" y2="{y(score):.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y(score) + 4, f"{100 * score:.0f}", "end"))
    for cost in costs:
        parts.append(
            f'<line class="grid" x1="{x(cost):.1f}" x2="{x(cost):.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
        )
        parts.append(_text(x(cost), BOTTOM + 20, f"{cost:g}", "middle"))
    slowest = max(ratio for _, _, _, ratio in drawn)
    taken: list[tuple[float, float]] = []
    for model, cost, score, ratio in sorted(drawn, key=lambda entry: -entry[2]):
        radius = max(SMALLEST, LARGEST * math.sqrt(ratio / slowest))
        label = f"{model.name}: mIoU {100 * score:.2f} %, {cost:.3g} GMACs in the head, time × {ratio:.2f}"
        parts.append(
            f'<circle cx="{x(cost):.1f}" cy="{y(score):.1f}" r="{radius:.1f}" fill-opacity="0.6">'
            f"<title>{escape(label)}</title></circle>"
        )
        is_right = x(cost) > (LEFT + RIGHT) / 2  # then its name stands on its left
        at = x(cost) + (-radius - 4 if is_right else radius + 4)
        height = _free_height(y(score) + 4, taken)
        taken.append((at, height))
        parts.append(_text(at, height, model.name, "end" if is_right else "start"))
    middle = (TOP + BOTTOM) / 2
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 44, "GMACs of the head", "middle"))
    parts.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">mIoU (%)</text>'
    )
    best = max(drawn, key=lambda entry: entry[2])
    summary = f"mIoU over GMACs of the head of {len(drawn)} models; best {best[0].name} with {100 * best[2]:.1f} %"
    content = "\n".join(parts)
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">\n'
        f"{content}\n</svg>"
    )


def _free_height(wanted: float, taken: Sequence[tuple[float, float]]) -> float:
    """The height at which a name stands, moved down past those that stand there; names come from the top."""
    height = wanted
    for _, other in sorted(taken, key=lambda place: place[1]):
        if abs(height - other) < LINE_HEIGHT:
            height = other + LINE_HEIGHT
    return height


def _decades(costs: Sequence[float]) -> list[float]:
    """Powers of ten around the values, at least two."""
    first = math.floor(math.log10(min(costs)))
    last = max(first + 1, math.ceil(math.log10(max(costs))))
    return [10.0**power for power in range(first, last + 1)]


def _score_ticks(scores: Sequence[float]) -> list[float]:
    """Round shares around the values, a few steps of 1, 2, 5, 10 or 20 percent."""
    spread = max(scores) - min(scores)
    step = next((step for step in (0.01, 0.02, 0.05, 0.1) if spread <= 5 * step), 0.2)
    first = math.floor(min(scores) / step + 1e-9)
    last = max(first + 1, math.ceil(max(scores) / step - 1e-9))
    return [step * number for number in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
