"""A summary of a run as one self-contained HTML file: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vitseg.classes import Color

LARGEST_PNG = 300_000
"""Bytes of an inlined PNG; larger pictures are inlined as JPEG."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1f2328; --soft: #636a72;
  --line: #e2e2de; --accent: #1f6feb; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1d2024; --ink: #e8e9ea; --soft: #9aa1a9;
  --line: #33373d; --accent: #6cb0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 0; }
dl.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
dl.facts dt { color: var(--soft); font-size: .85rem; }
dl.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
th, td { padding: .45rem .8rem; text-align: left; border-top: 1px solid var(--line); }
thead th { color: var(--soft); font-size: .85rem; border-top: 0; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { width: 45%; }
.bar svg, .swatch { display: block; }
.swatch { display: inline-block; width: .9em; height: .9em; border-radius: .2em; border: 1px solid var(--line);
  margin-right: .55em; vertical-align: -.08em; }
figure { margin: 0 0 1.5rem; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: .4rem; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
.curve { width: 100%; max-width: 46rem; height: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
.curve text { fill: var(--soft); font-size: 13px; font-family: inherit; }
.curve .grid { stroke: var(--line); }
.curve .line { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
.curve circle { fill: var(--accent); }
"""


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
    sections = [f"<h1>{escape(title)}</h1>", _facts(facts)]
    if images:
        sections += [
            "<h2>Pictures</h2>",
            *(_figure(caption, picture) for caption, picture in images),
        ]
    if class_rows:
        sections += ["<h2>Classes</h2>", _class_table(class_rows)]
    if curve:
        sections += ["<h2>Validation during training</h2>", _curve(curve)]
    body = "\n".join(sections)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _facts(facts: Mapping[str, str]) -> str:
    cards = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">\n{cards}\n</dl>'


def _figure(caption: str, picture: Image.Image) -> str:
    text = escape(caption)
    return (
        f'<figure><img src="{_data_uri(picture)}" width="{picture.width}" height="{picture.height}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _data_uri(picture: Image.Image) -> str:
    picture = picture.convert("RGB")
    kind, buffer = "png", io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    if buffer.tell() > LARGEST_PNG:
        kind, buffer = "jpeg", io.BytesIO()
        picture.save(buffer, format="JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _class_table(rows: Sequence[ClassRow]) -> str:
    lines = []
    for row in rows:
        swatch = ""
        if row.color is not None:
            swatch = f'<span class="swatch" style="background: rgb{tuple(row.color)}"></span>'
        share = 0.0 if math.isnan(row.iou) else row.iou
        lines.append(
            f'<tr><th scope="row">{swatch}{escape(row.name)}</th>'
            f'<td class="number">{_percent(row.iou)}</td><td class="number">{_percent(row.acc)}</td>'
            f'<td class="bar"><svg width="100%" height="10" aria-hidden="true">'
            f'<rect width="100%" height="10" rx="3" fill="var(--line)"/>'
            f'<rect width="{100 * share:.1f}%" height="10" rx="3" fill="var(--accent)"/></svg></td></tr>'
        )
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">Class</th><th scope="col" class="number">IoU</th>'
        '<th scope="col" class="number">Accuracy</th><td></td></tr></thead>\n'
        "<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


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
