"""The page of a tuning: a chart of mIoU over time, and the table. No script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor
from pathlib import Path
from typing import Literal

from vitseg.render.chart_parts import (
    LEFT,
    RIGHT,
    free_height,
    score_axis,
    score_chart,
    text,
    upright,
)
from vitseg.render.page_parts import fact_cards, swatch, table, write_page

Color = tuple[int, int, int]
Marker = Literal["line", "square", "diamond", "ring"]

COLORS: tuple[Color, ...] = (
    (31, 111, 235), (191, 135, 0), (130, 80, 223), (26, 127, 55), (207, 34, 46), (27, 124, 131), (191, 57, 137),
)  # fmt: skip
"""Colours of the joined groups in order, again from the first where there are more; seen on light and on dark paper."""

PLAIN: Color = (120, 126, 134)
"""Colours of all others, which have their names beside them."""

LABEL_WIDTH = 100
"""About that of a name, in SVG units: names further apart than this do not collide."""

COLUMNS = ("mIoU %", "GMACs", "alive %", "ms", "time ×")
"""Headers of `TradeOff.cells`."""


@dataclass(frozen=True)
class TradeOff:
    """A setting's line.

    Attributes:
        name: What it is called.
        group: Settings of a group with "line" share a colour.
        marker: How it is drawn; the points of a group with "line" are joined in order of their time.
        miou: mIoU, in [0, 1].
        gmacs: Multiply-adds of an image in 10^9.
        alive: Share of the tokens, in [0, 1], left behind each exit.
        milliseconds: Time of an image.
        time_ratio: That over the unpruned model's.
        is_best: Whether it is the setting to take.
    """

    name: str
    group: str
    marker: Marker
    miou: float
    gmacs: float
    alive: tuple[float, ...]
    milliseconds: float
    time_ratio: float
    is_best: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """The numbers as text, in the order of COLUMNS."""
        alive = " ".join(f"{100 * share:.0f}" for share in self.alive)
        return (
            f"{100 * self.miou:.2f}",
            f"{self.gmacs:.2f}",
            alive,
            f"{self.milliseconds:.1f}",
            f"{self.time_ratio:.3f}",
        )


def write_trade_off(
    path: Path,
    title: str,
    verdict: str,
    facts: Mapping[str, str],
    settings: Sequence[TradeOff],
    lowest_miou: float,
    left_out: Mapping[str, str],
) -> None:
    """Write the page; its folder is created.

    Args:
        path: The HTML file; replaced if it exists.
        title: Heading.
        verdict: The answer, in a sentence.
        facts: How it was measured, short values under short names.
        settings: The lines, in order.
        lowest_miou: What a setting must reach, in [0, 1].
        left_out: Why others were not measured, by name.
    """
    sections = [
        f"<p>{escape(verdict[:1].upper() + verdict[1:])}</p>",
        fact_cards(facts),
        "<h2>Accuracy and time</h2>",
        trade_off_chart(settings, lowest_miou),
        _legend(settings),
        "<h2>Settings</h2>",
        _table(settings),
        '<p class="soft">GMACs: 10<sup>9</sup> multiply-adds of an image. Alive: share of the tokens left behind each '
        "exit. Time: from the decoded image to its labels, over that of the unpruned model.</p>",
    ]
    if left_out:
        sections.append("<h2>Left out</h2>")
        sections += [
            f'<article class="warning"><h3>{escape(name)}</h3><p>{escape(reason)}</p></article>'
            for name, reason in left_out.items()
        ]
    write_page(path, title, sections)


def trade_off_chart(settings: Sequence[TradeOff], lowest_miou: float) -> str:
    """MIoU over the ratio of times; dashed where it is just good enough. The plain ways and the best have names."""
    y, parts = score_axis([lowest_miou, *(setting.miou for setting in settings)])
    ratios = [setting.time_ratio for setting in settings]
    first = floor(min(ratios) * 10 + 1e-9)
    last = max(first + 1, ceil(max(ratios) * 10 - 1e-9))
    step = max(1, ceil((last - first) / 12))

    def x(ratio: float) -> float:
        return LEFT + (RIGHT - LEFT) * (10 * ratio - first) / (last - first)

    for tenth in range(first, last + 1, step):
        parts += upright(x(tenth / 10), f"{tenth / 10:.1f}")
    limit = y(lowest_miou)
    parts.append(
        f'<line class="line" style="stroke-width:1;stroke-dasharray:5 4" x1="{LEFT}" x2="{RIGHT}" y1="{limit:.1f}" '
        f'y2="{limit:.1f}"><title>lowest mIoU: {100 * lowest_miou:.2f} %</title></line>'
    )
    colors = _colors(settings)
    for group, color in colors.items():
        joined = sorted((one.time_ratio, one.miou) for one in settings if one.group == group)
        places = " ".join(f"{x(ratio):.1f},{y(score):.1f}" for ratio, score in joined)
        parts.append(
            f'<polyline class="line" style="stroke:rgb{color};stroke-width:1.5" points="{places}"/>'
        )
    taken: list[tuple[float, float]] = []
    for setting in sorted(settings, key=lambda one: -one.miou):
        at = x(setting.time_ratio), y(setting.miou)
        parts.append(_marked(setting, at, colors.get(setting.group, PLAIN)))
        if setting.marker != "line" or setting.is_best:
            is_right = at[0] > (LEFT + RIGHT) / 2  # then its name stands on its left
            near = [place for place in taken if abs(place[0] - at[0]) < LABEL_WIDTH]
            height = free_height(at[1] + 4, near)
            taken.append((at[0], height))
            side = -10 if is_right else 10
            parts.append(text(at[0] + side, height, setting.name, "end" if is_right else "start"))
    best = next(setting for setting in settings if setting.is_best)
    summary = (
        f"mIoU over time of {len(settings)} settings; best {best.name} with {100 * best.miou:.1f} % at "
        f"{best.time_ratio:.2f} of the time"
    )
    return score_chart(summary, "time over that of the unpruned model", parts)


def _colors(settings: Sequence[TradeOff]) -> dict[str, Color]:
    groups = dict.fromkeys(setting.group for setting in settings if setting.marker == "line")
    return {group: COLORS[index % len(COLORS)] for index, group in enumerate(groups)}


def _marked(setting: TradeOff, at: tuple[float, float], color: Color) -> str:
    """A point, larger where it is the best, with its numbers for a pointer that rests on it."""
    (x, y), size = at, 7.0 if setting.is_best else 4.5
    label = f"{setting.name}: mIoU {100 * setting.miou:.2f} %, time × {setting.time_ratio:.3f}"
    title = f"<title>{escape(label)}, {setting.gmacs:.2f} GMACs</title>"
    if setting.marker in ("line", "ring"):
        fill = (
            f"fill:rgb{color}"
            if setting.marker == "line"
            else f"fill:none;stroke:rgb{color};stroke-width:3"
        )
        return f'<circle style="{fill}" cx="{x:.1f}" cy="{y:.1f}" r="{size}">{title}</circle>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if setting.marker == "diamond" else ""
    return (
        f'<rect style="fill:rgb{color}" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"'
        f"{turned}>{title}</rect>"
    )


def _legend(settings: Sequence[TradeOff]) -> str:
    names = "<br>".join(
        f"{swatch(color)}{escape(group)}" for group, color in _colors(settings).items()
    )
    note = "Dashed: the lowest mIoU allowed. The largest mark: the best setting."
    return f'<p class="soft">{note}</p><p class="soft">{names}</p>'


def _table(settings: Sequence[TradeOff]) -> str:
    numbers = "".join(f'<th scope="col" class="number">{name}</th>' for name in COLUMNS)
    rows = [
        f'<th scope="row">{_emphasised(setting)}</th>'
        + "".join(f'<td class="number">{cell}</td>' for cell in setting.cells)
        for setting in settings
    ]
    return table(f'<th scope="col">Setting</th>{numbers}', rows)


def _emphasised(setting: TradeOff) -> str:
    name = escape(setting.name)
    return f"<strong>{name}</strong> (best)" if setting.is_best else name
