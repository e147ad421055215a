"""Pieces of a self-contained HTML page: its frame and style, cards of facts, pictures, bars."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vitseg.classes import Color
from vitseg.files import write_whole

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
article { background: var(--card); border: 1px solid var(--line); border-left: .35rem solid var(--soft);
  border-radius: .4rem; padding: .8rem 1.1rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
article.error { border-left-color: #d1242f; }
article.warning { border-left-color: #bf8700; }
article h3 { font-size: 1rem; margin: 0; }
article p { margin: .3rem 0 0; }
article .soft, p.soft { color: var(--soft); font-size: .9rem; }
article ul { color: var(--soft); font-size: .85rem; margin: .4rem 0 .6rem; padding-left: 1.2rem; }
article figure { margin: .8rem 0 0; }
.curve { width: 100%; max-width: 46rem; height: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
.curve text { fill: var(--soft); font-size: 13px; font-family: inherit; }
.curve .grid { stroke: var(--line); }
.curve .line { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
.curve circle { fill: var(--accent); }
"""


def write_page(path: Path, title: str, sections: Sequence[str]) -> None:
    """Write a page: a heading and then the sections, each a piece of HTML. The parent folder is created."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *sections])
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    write_whole(path, page)


def fact_cards(facts: Mapping[str, str]) -> str:
    """Short values under short names."""
    cards = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">\n{cards}\n</dl>'


def figure(caption: str, picture: Image.Image) -> str:
    """A picture, inlined; the caption is also the text for readers who do not see it."""
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


def swatch(color: Color | None) -> str:
    """A small square of a colour; nothing for None."""
    if color is None:
        return ""
    return f'<span class="swatch" style="background: rgb{tuple(color)}"></span>'


def bar_cell(share: float) -> str:
    """A table cell with a bar; `share` in [0, 1]."""
    return (
        f'<td class="bar"><svg width="100%" height="10" aria-hidden="true">'
        f'<rect width="100%" height="10" rx="3" fill="var(--line)"/>'
        f'<rect width="{100 * share:.1f}%" height="10" rx="3" fill="var(--accent)"/></svg></td>'
    )


def table(head: str, rows: Sequence[str]) -> str:
    """A table from the cells of its header and its rows."""
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
