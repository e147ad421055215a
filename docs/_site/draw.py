"""Draws the pictures of the pages: `python docs/_site/draw.py` writes docs/images/*.svg.

Colours follow the reader's light or dark scheme: by themselves where a file is shown as an image, by the site's switch
where `drawings.py` has put it into the page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parents[1] / "images"
LIGHT = {
    "ink": "#1f2933", "soft": "#5b6b7b", "line": "#8895a3", "box": "#eef2f6", "sure": "#d9dee4",
    "a": "#5b8def", "b": "#3fa66b", "c": "#e08a3c", "d": "#b565c9", "pale": "#dbe7fd",
}  # fmt: skip
DARK = {
    "ink": "#e6e9ed", "soft": "#a9b4c0", "line": "#7d8894", "box": "#28303a", "sure": "#3a434e",
    "a": "#5b8def", "b": "#3fa66b", "c": "#d98235", "d": "#b565c9", "pale": "#2b3d5f",
}  # fmt: skip
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Drawing:
    """Shapes on a page of some size."""

    def __init__(self, width: int, height: int, title: str):
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def add(self, part: str) -> None:
        self.parts.append(part)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        kind: str = "ink",
        size: int = 13,
        anchor: str = "middle",
    ) -> None:
        for number, line in enumerate(words.split("\n")):
            self.add(
                f'<text x="{x:g}" y="{y + number * (size + 3):g}" class="t-{kind}" font-size="{size}" '
                f'text-anchor="{anchor}">{escape(line)}</text>'
            )

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        words: str = "",
        kind: str = "box",
        size: int = 13,
    ) -> None:
        self.add(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="5" class="f-{kind} edge"/>'
        )
        lines = words.split("\n") if words else []
        top = y + h / 2 - (len(lines) - 1) * (size + 3) / 2 + size * 0.36
        on_colour = "white" if kind in ("a", "b", "c", "d") else "ink"
        if words:
            self.text(x + w / 2, top, words, on_colour, size)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        way = " ".join(f"{'ML'[bool(number)]}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        style = ' stroke-dasharray="4 4"' if dashed else ""
        self.add(f'<path d="{way}" class="way"{style} marker-end="url(#tip)"/>')

    def grid(
        self,
        x: float,
        y: float,
        rows: int,
        columns: int,
        cell: float,
        kind: Callable[[int, int], str],
    ) -> None:
        """Cells of a side; `kind` says how each is filled ("": not drawn)."""
        for row in range(rows):
            for column in range(columns):
                fill = kind(row, column)
                if fill:
                    self.add(
                        f'<rect x="{x + column * cell:g}" y="{y + row * cell:g}" width="{cell - 1.5:g}" '
                        f'height="{cell - 1.5:g}" rx="1.5" class="f-{fill}"/>'
                    )

    def svg(self) -> str:
        def colours(table: dict[str, str]) -> str:
            return "".join(f"--v-{name}:{value};" for name, value in table.items())

        rules = [f".f-{name}{{fill:var(--v-{name})}}" for name in LIGHT]
        rules += [
            f".t-{name}{{fill:var(--v-{name})}}" for name in ("ink", "soft", "a", "b", "c", "d")
        ]
        style = (
            f"svg.drawing{{{colours(LIGHT)}font-family:{FONT}}}"
            f"@media (prefers-color-scheme:dark){{svg.drawing{{{colours(DARK)}}}}}"
            f'html[data-theme="light"] svg.drawing{{{colours(LIGHT)}}}'
            f'html[data-theme="dark"] svg.drawing{{{colours(DARK)}}}'
            + "".join(f"svg.drawing {rule}" for rule in rules)
            + "svg.drawing .t-white{fill:#fff}svg.drawing .edge{stroke:var(--v-line);stroke-width:1}"
            "svg.drawing .way{fill:none;stroke:var(--v-line);stroke-width:1.6}svg.drawing .tip{fill:var(--v-line)}"
        )
        tip = (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" class="tip"/></marker></defs>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" class="drawing" role="img" aria-label="{escape(self.title)}">'
            f"<title>{escape(self.title)}</title><style>{style}</style>{tip}\n"
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def scene(row: int, column: int, rows: int = 8, columns: int = 8) -> str:
    """What is where in the made-up picture: sky, a tree, a house, ground."""
    y, x = row / rows, column / columns
    if y >= 0.75:
        return "c"
    if x < 0.4 and y >= 0.3:
        return "b"
    if x >= 0.6 and y >= 0.4:
        return "d"
    return "a"


def picture(drawing: Drawing, x: float, y: float, cell: float = 12, words: str = "image") -> None:
    drawing.grid(x, y, 8, 8, cell, scene)
    drawing.text(x + 4 * cell, y + 8 * cell + 18, words, "soft", 12)


def blocks(
    drawing: Drawing,
    x: float,
    y: float,
    count: int,
    height: float = 96,
    step: float = 20,
    lit: tuple[int, ...] = (),
) -> None:
    for number in range(count):
        drawing.box(x + number * step, y, step - 6, height, kind="a" if number in lit else "box")


def overview() -> Drawing:
    d = Drawing(
        760,
        232,
        "From a folder of images and masks to a model that predicts, is served, exported and extended",
    )
    d.box(10, 70, 130, 92, "images/ masks/\nclasses.json")
    d.text(75, 186, "your folder", "soft", 12)
    d.arrow((142, 116), (186, 116))
    d.box(190, 92, 110, 48, "vitseg train", "a")
    d.text(245, 166, "chooses backbone,\nscale, iterations", "soft", 12)
    d.arrow((302, 116), (346, 116))
    d.box(350, 78, 130, 76, "model directory\nweights, classes,\nprotocol")
    d.text(415, 178, "one folder", "soft", 12)
    for number, (verb, what) in enumerate(
        [("predict, video", "masks, overlays"), ("evaluate", "scores, report"), ("serve", "HTTP, CVAT"),
         ("export", "ONNX, torch"), ("extend", "new classes")]
    ):  # fmt: skip
        y = 8 + number * 44
        d.arrow((482, 116), (540, y + 16))
        d.box(544, y, 104, 32, verb, "b")
        d.text(658, y + 20, what, "soft", 12, "start")
    return d


def segvit() -> Drawing:
    d = Drawing(
        760,
        290,
        "SegViT: class queries attend to the tokens of three depths; the attention scores are the masks",
    )
    picture(d, 8, 66)
    d.arrow((108, 114), (128, 114))
    blocks(d, 132, 66, 12, step=15, lit=(5, 7, 11))
    d.text(220, 182, "plain ViT, 12 blocks", "soft", 12)
    for number, (tap, x) in enumerate([(11, 370), (7, 492), (5, 614)]):
        d.box(x, 84, 92, 60, "attention\nto mask", "a")
        start, over = 136 + tap * 15, 48 - number * 17
        d.arrow((start, 64), (start, over), (x + 46, over), (x + 46, 82))
        d.arrow((x + 20, 146), (x + 20, 190))
    d.grid(326, 86, 4, 1, 14, lambda r, c: "abdc"[r])
    d.text(333, 160, "a query\nper class", "soft", 11)
    d.arrow((344, 114), (368, 114))
    d.arrow((464, 114), (490, 114))
    d.arrow((586, 114), (612, 114))
    d.box(372, 192, 282, 32, "masks of the stages, summed")
    d.box(668, 192, 84, 32, "present?")
    d.arrow((694, 146), (694, 190))
    d.text(661, 212, "×", "ink", 18)
    d.arrow((661, 226), (661, 250))
    d.text(752, 272, "score of a class at a pixel; the best class is the label", "soft", 12, "end")
    return d


def setr() -> Drawing:
    d = Drawing(760, 300, "SETR: three convolutional heads on the tokens of a plain ViT")
    picture(d, 8, 96)
    d.arrow((108, 144), (130, 144))
    blocks(d, 134, 96, 12, lit=(11,))
    d.text(250, 212, "plain ViT", "soft", 12)
    d.arrow((374, 120), (400, 120), (400, 38), (428, 38))
    d.arrow((374, 144), (428, 144))
    d.arrow((374, 168), (400, 168), (400, 254), (428, 254))
    d.text(474, 14, "Naive", "ink", 13)
    d.box(432, 22, 84, 34, "1 × 1", "b")
    d.arrow((518, 39), (546, 39))
    d.box(550, 22, 84, 34, "resize × 16")
    d.text(474, 118, "PUP", "ink", 13)
    for number in range(4):
        d.box(432 + number * 62, 126, 54, 36, "3 × 3\n× 2", "b", 11)
        if number:
            d.arrow((432 + number * 62 - 7, 144), (432 + number * 62 - 1, 144))
    d.text(474, 220, "MLA", "ink", 13)
    for number in range(4):
        d.box(432 + number * 34, 228, 28, 52, "", "b")
    d.text(500, 296, "four depths, summed up", "soft", 11)
    d.arrow((570, 254), (590, 254))
    d.box(594, 236, 72, 36, "join, × 4")
    for y in (39, 144, 254):
        start = {39: 636, 144: 676, 254: 668}[y]
        d.arrow((start, y), (694, y))
    for y in (12, 117, 227):
        d.grid(698, y, 8, 8, 6.5, scene)
    return d


def shrunk() -> Drawing:
    d = Drawing(
        760,
        214,
        "Shrunk: a block of the backbone returns a quarter of the tokens, and queries bring the full grid back",
    )
    d.grid(8, 40, 8, 8, 14, scene)
    d.text(64, 172, "all tokens", "soft", 12)
    d.arrow((124, 96), (148, 96))
    blocks(d, 152, 48, 4)
    d.text(190, 172, "first blocks", "soft", 12)
    d.arrow((234, 96), (258, 96))
    d.box(262, 66, 66, 60, "QD\n1 of 4", "a")
    d.arrow((330, 96), (354, 96))
    d.grid(358, 68, 4, 4, 14, lambda r, c: scene(r, c, 4, 4))
    d.text(386, 172, "a quarter", "soft", 12)
    d.arrow((418, 96), (440, 96))
    blocks(d, 444, 66, 4, 60)
    d.text(482, 172, "other blocks", "soft", 12)
    d.arrow((526, 96), (550, 96))
    d.box(554, 66, 66, 60, "QU", "a")
    d.arrow((192, 46), (192, 20), (587, 20), (587, 64))
    d.text(390, 14, "the map before: all tokens", "soft", 11)
    d.text(587, 146, "queries of the\nfull grid ask both", "soft", 11)
    d.arrow((622, 96), (640, 96))
    d.grid(644, 40, 8, 8, 14, scene)
    d.text(700, 172, "full grid again", "soft", 11)
    return d


def edges() -> Drawing:
    d = Drawing(
        760,
        236,
        "Edge-aware Shrunk: a sparse grid of tokens and those on the borders of classes stay",
    )
    d.grid(8, 36, 8, 8, 18, scene)
    d.text(80, 200, "all tokens", "soft", 12)

    def on_edge(r: int, c: int) -> bool:
        around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return any(0 <= y < 8 and 0 <= x < 8 and scene(y, x) != scene(r, c) for y, x in around)

    d.arrow((158, 108), (196, 108))
    d.text(177, 24, "edge head", "soft", 12)
    d.grid(200, 36, 8, 8, 18, lambda r, c: "c" if on_edge(r, c) else "sure")
    d.text(272, 200, "p(edge) > 0.7", "soft", 12)
    d.text(372, 112, "+", "ink", 22)
    d.grid(396, 36, 8, 8, 18, lambda r, c: "a" if r % 2 == 0 and c % 2 == 0 else "sure")
    d.text(468, 200, "every 2 × 2's first", "soft", 12)
    d.arrow((546, 108), (584, 108))
    d.grid(
        588,
        36,
        8,
        8,
        18,
        lambda r, c: scene(r, c) if on_edge(r, c) or (r % 2 == 0 and c % 2 == 0) else "",
    )
    d.text(660, 200, "what the blocks run", "soft", 12)
    d.text(660, 218, "as many as the image needs", "soft", 11)
    return d


def continual() -> Drawing:
    d = Drawing(
        760,
        268,
        "SegViT-CL: each task has queries, stages and a classifier of its own on a frozen backbone",
    )
    picture(d, 8, 84)
    d.arrow((108, 132), (136, 132))
    d.box(140, 92, 110, 80, "backbone\nfrozen", "sure")
    for number, (name, words, kind) in enumerate(
        [("task 1", "queries, stages, classifier\nfrozen: every bit stays", "sure"),
         ("task 2", "queries, stages, classifier\nfrozen once learnt", "sure"),
         ("task 3", "queries, stages, classifier\nlearns now, alone", "b")]
    ):  # fmt: skip
        y = 18 + number * 84
        d.arrow((252, 132), (296, y + 32))
        d.box(300, y, 200, 64, words, kind)
        d.text(400, y - 5, name, "soft", 11)
        d.arrow((502, y + 32), (544, 132))
    d.box(548, 96, 92, 72, "scores\nside by side")
    d.arrow((642, 132), (662, 132))
    d.grid(666, 88, 8, 8, 11, scene)
    d.text(710, 196, "the best of\nall tasks' classes", "soft", 11)
    return d


def dtop() -> Drawing:
    d = Drawing(
        760, 240, "DToP: tokens whose class a head is sure of leave at an exit; the others go on"
    )
    hard = {(2, 2), (3, 3), (4, 4), (5, 3), (3, 5), (4, 5), (5, 5), (0, 2), (7, 3), (2, 0)}
    stages: list[Callable[[int, int], bool]] = [
        lambda r, c: True,
        lambda r, c: scene(r, c) in "bd" or (r, c) in ((0, 2), (1, 6), (7, 3)),
        lambda r, c: (r, c) in hard,
    ]
    captions = ("all tokens", "the easy ones have left", "hard ones to the end")
    for number, stays in enumerate(stages):
        x = 8 + number * 236
        d.grid(x, 40, 8, 8, 14, lambda r, c, stays=stays: scene(r, c) if stays(r, c) else "sure")
        d.text(x + 56, 172, captions[number], "soft", 12)
        if number < 2:
            d.arrow((x + 114, 96), (x + 130, 96))
            blocks(d, x + 134, 66, 3, 60, 16)
            d.arrow((x + 184, 96), (x + 194, 96))
            d.box(x + 196, 74, 24, 44, "", "c")
            d.text(x + 208, 100, "E", "white", 13)
            d.arrow((x + 222, 96), (x + 234, 96))
            d.text(x + 208, 138, "p > p0", "soft", 11)
    d.arrow((596, 96), (612, 96))
    blocks(d, 616, 66, 3, 60, 16)
    d.arrow((666, 96), (680, 96))
    d.box(682, 66, 60, 60, "last\nhead", "a")
    d.text(
        376,
        212,
        "What an exit said of a token that left stands. A few of every class stay for the others to attend to.",
        "soft",
        12,
    )
    return d


def nrd() -> Drawing:
    d = Drawing(
        760,
        250,
        "NRD: a controller makes the parameters of a small network for every cell, which labels the cell's pixels",
    )
    picture(d, 8, 60)
    d.arrow((108, 108), (132, 108))
    d.box(136, 78, 92, 60, "encoder,\npooling")
    d.arrow((230, 108), (252, 108))
    d.grid(256, 84, 3, 3, 16, lambda r, c: "a" if (r, c) == (1, 1) else "pale")
    d.text(280, 158, "cells, stride 32", "soft", 12)
    d.arrow((306, 108), (330, 108))
    d.box(334, 84, 92, 48, "controller", "a")
    d.arrow((428, 108), (470, 108))
    d.text(449, 66, "weights", "soft", 12)
    d.box(474, 74, 116, 68, "network of the\ncell: three\n1 × 1 layers", "b", 12)
    d.arrow((592, 108), (628, 108))
    d.grid(632, 60, 8, 8, 12, lambda r, c: "b" if c < 4 - r // 3 else "d")
    d.text(680, 176, "labels of the cell", "soft", 12)
    d.box(420, 186, 106, 30, "x, y in the cell")
    d.box(540, 186, 106, 30, "fine features")
    d.arrow((473, 184), (510, 144))
    d.arrow((593, 184), (554, 144))
    d.arrow((182, 140), (182, 236), (593, 236), (593, 218))
    d.text(300, 228, "map of stride 4", "soft", 11)
    return d


def semask() -> Drawing:
    d = Drawing(
        760, 238, "SeMask: behind each stage of a Swin, tokens attend to those of their class"
    )
    picture(d, 8, 60)
    d.arrow((108, 108), (130, 108))
    for number in range(4):
        x = 134 + number * 120
        height = 88 - number * 14
        d.box(x, 108 - height / 2, 50, height, f"stage\n{number + 1}", size=12)
        d.arrow((x + 52, 108), (x + 60, 108))
        d.box(x + 62, 108 - height / 2, 36, height, "S", "a", 15)
        d.arrow((x + 80, 108 + height / 2 + 2), (x + 80, 192))
        if number < 3:
            d.arrow((x + 100, 108), (x + 118, 108))
    d.text(
        330, 34, "S: queries and keys are class scores, so tokens attend to their like", "soft", 12
    )
    d.box(
        180,
        194,
        440,
        30,
        "class scores of all stages, summed: supervised in training only",
        "pale",
        12,
    )
    d.arrow((594, 108), (622, 108))
    d.box(626, 82, 74, 52, "Semantic\nFPN", "b")
    d.text(663, 154, "labels", "soft", 12)
    return d


def queries() -> Drawing:
    d = Drawing(
        760,
        232,
        "Where heads put their class queries: behind the backbone, or in its own last blocks",
    )
    d.text(8, 26, "decoder behind the backbone: SegViT, Segmenter, Mask2Former", "ink", 13, "start")
    d.grid(8, 44, 3, 6, 14, lambda r, c: scene(r, c, 3, 6))
    d.arrow((96, 64), (120, 64))
    blocks(d, 124, 40, 12, 48)
    d.arrow((364, 64), (390, 64))
    for number in range(3):
        d.box(394 + number * 34, 40, 26, 48, "", "b")
    d.grid(396, 96, 1, 4, 14, lambda r, c: "abdc"[c])
    d.text(462, 108, "queries", "soft", 12, "start")
    d.arrow((500, 64), (524, 64))
    d.text(528, 60, "new layers, from random weights", "soft", 12, "start")
    d.text(528, 76, "in every training", "soft", 12, "start")
    d.text(8, 146, "queries join the tokens: segvit_joint, EoMT", "ink", 13, "start")
    d.grid(8, 164, 3, 6, 14, lambda r, c: scene(r, c, 3, 6))
    d.arrow((96, 184), (120, 184))
    blocks(d, 124, 160, 12, 48, lit=(9, 10, 11))
    d.grid(300, 214, 1, 4, 14, lambda r, c: "abdc"[c])
    d.text(362, 226, "queries", "soft", 12, "start")
    d.arrow((364, 184), (524, 184))
    d.text(528, 180, "the backbone's pretrained blocks do", "soft", 12, "start")
    d.text(528, 196, "the work; no decoder behind them", "soft", 12, "start")
    return d


def pyramid() -> Drawing:
    d = Drawing(760, 216, "Pyramid decoders: maps of several strides, fused at the finest")
    picture(d, 8, 50)
    d.arrow((108, 98), (130, 98))
    for number, (side, words) in enumerate([(92, "4"), (68, "8"), (46, "16"), (30, "32")]):
        x = 134 + number * 92
        d.box(x, 98 - side / 2, side * 0.75, side, words, "box", 12)
        if number < 3:
            d.arrow((x + side * 0.75 + 2, 98), (x + 90, 98))
        d.arrow((x + side * 0.375, 98 + side / 2 + 2), (x + side * 0.375, 166))
    d.text(250, 24, "stride of the map", "soft", 12)
    d.box(134, 168, 340, 30, "decoder: pooling, a pyramid network, a dot product", "b", 12)
    d.arrow((476, 183), (560, 183), (560, 146))
    d.grid(512, 48, 8, 8, 12, scene)
    d.text(640, 100, "labels", "soft", 12)
    return d


DRAWINGS = {
    "overview": overview, "segvit": segvit, "setr": setr, "shrunk": shrunk, "edges": edges, "continual": continual,
    "dtop": dtop, "nrd": nrd, "semask": semask, "queries": queries, "pyramid": pyramid,
}  # fmt: skip


if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg())
