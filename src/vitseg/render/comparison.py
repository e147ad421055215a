"""The page of a comparison: a chart of mIoU over the cost of the head, and the table. No script, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vitseg.render.chart_parts import (
    LEFT,
    RIGHT,
    free_height,
    score_axis,
    score_chart,
    text,
    upright,
)
from vitseg.render.page_parts import fact_cards, table, write_page

SMALLEST, LARGEST = 5.0, 18.0
"""Radii of the points of the fastest and the slowest model."""


@dataclass(frozen=True)
class ComparedModel:
    """A line of the comparison; None where the training failed.

    Attributes:
        name: What the model is called.
        method: Name of its method.
        backbone: Name of its backbone.
        miou: mIoU, in [0, 1].
        parameters: Parameters of the whole model, in 10^6.
        head_parameters: Parameters beyond the backbone, in 10^6.
        gmacs: Multiply-adds of the whole model, in 10^9.
        head_gmacs: Multiply-adds beyond the backbone, in 10^9.
        minutes: Duration of the training.
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

    def x(cost: float) -> float:
        share = math.log(cost / costs[0]) / math.log(costs[-1] / costs[0])
        return LEFT + (RIGHT - LEFT) * share

    y, parts = score_axis([score for _, _, score, _ in drawn])
    for cost in costs:
        parts += upright(x(cost), f"{cost:g}")
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
        height = free_height(y(score) + 4, taken)
        taken.append((at, height))
        parts.append(text(at, height, model.name, "end" if is_right else "start"))
    best = max(drawn, key=lambda entry: entry[2])
    summary = f"mIoU over GMACs of the head of {len(drawn)} models; best {best[0].name} with {100 * best[2]:.1f} %"
    return score_chart(summary, "GMACs of the head", parts)


def _decades(costs: Sequence[float]) -> list[float]:
    """Powers of ten around the values, at least two."""
    first = math.floor(math.log10(min(costs)))
    last = max(first + 1, math.ceil(math.log10(max(costs))))
    return [10.0**power for power in range(first, last + 1)]
