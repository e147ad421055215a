"""Pieces of the charts that show models by their mIoU: the plot, its axis of scores, names that do not collide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from vitseg.classes import Color

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 700, 24, 362
"""View box of a chart in SVG units, and the plot within it."""

COLORS: tuple[Color, ...] = (
    (31, 111, 235), (191, 135, 0), (130, 80, 223), (26, 127, 55), (207, 34, 46), (27, 124, 131), (191, 57, 137),
)  # fmt: skip
"""Colours of lines in order, from the first again where there are more lines; seen on light and on dark paper."""

LINE_HEIGHT = 15
"""Least distance of names above each other."""


def text(x: float, y: float, content: str, anchor: str) -> str:
    """Words at a place; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def score_axis(scores: Sequence[float]) -> tuple[Callable[[float], float], list[str]]:
    """From a mIoU in [0, 1] to its height, and the grid for the scores with its labels."""
    ticks = _score_ticks(scores)

    def y(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(text(LEFT - 8, y(tick) + 4, f"{100 * tick:.0f}", "end"))
    return y, parts


def upright(x: float, label: str) -> list[str]:
    """A line of the grid across the scores, with its label below."""
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
    return [line, text(x, BOTTOM + 20, label, "middle")]


def score_chart(summary: str, x_name: str, parts: Sequence[str]) -> str:
    """A chart of mIoU; `summary` is for readers who do not see it."""
    middle = (TOP + BOTTOM) / 2
    names = [
        text((LEFT + RIGHT) / 2, BOTTOM + 44, x_name, "middle"),
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">mIoU (%)</text>',
    ]
    content = "\n".join([*parts, *names])
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">\n'
        f"{content}\n</svg>"
    )


def free_height(wanted: float, taken: Sequence[tuple[float, float]]) -> float:
    """The height at which a name stands, moved down past those that stand there; names come from the top."""
    height = wanted
    for _, other in sorted(taken, key=lambda place: place[1]):
        if abs(height - other) < LINE_HEIGHT:
            height = other + LINE_HEIGHT
    return height


def _score_ticks(scores: Sequence[float]) -> list[float]:
    """Round shares around the values, a few steps of 1, 2, 5, 10 or 20 percent."""
    spread = max(scores) - min(scores)
    step = next((step for step in (0.01, 0.02, 0.05, 0.1) if spread <= 5 * step), 0.2)
    first = math.floor(min(scores) / step + 1e-9)
    last = max(first + 1, math.ceil(max(scores) / step - 1e-9))
    return [step * number for number in range(first, last + 1)]
