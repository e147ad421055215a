"""The summary page: well-formed, self-contained, escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from PIL import Image

from vitseg.render.page import ClassRow, write_summary_page

VOID = {"meta", "img", "link"}


class Page(HTMLParser):
    """Collects what the tests ask about, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def page(tmp_path, **parts) -> Page:
    path = tmp_path / "new" / "page.html"
    parts = {"title": "Title", "facts": {"mIoU": "87.2 %"}} | parts
    write_summary_page(path, **parts)
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def test_everything_is_inlined_and_nothing_runs(tmp_path):
    parsed = page(
        tmp_path,
        class_rows=[
            ClassRow("road", 0.5, 0.75, (1, 2, 3)),
            ClassRow("sky", float("nan"), float("nan")),
        ],
        images=[("A photo", Image.new("RGB", (8, 6), "red")), ("A mask", Image.new("P", (8, 6)))],
        curve=[(0, 0.1), (100, 0.6)],
    )
    assert not parsed.all("script")
    assert not parsed.all("link")
    assert [image["alt"] for image in parsed.all("img")] == ["A photo", "A mask"]
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.all("img"))
    text = " ".join(parsed.words)
    assert "50.0 %" in text
    assert "75.0 %" in text
    assert "–" in text, "a class without score"
    (curve,) = [svg for svg in parsed.all("svg") if svg.get("role") == "img"]
    assert curve["aria-label"] == "mIoU from 10.0 % at iteration 0 to 60.0 % at iteration 100"


def test_large_pictures_become_jpeg(tmp_path):
    noise = Image.effect_noise((600, 600), 90)
    (image,) = page(tmp_path, images=[("noise", noise)]).all("img")
    assert image["src"].startswith("data:image/jpeg;base64,")


def test_text_is_escaped(tmp_path):
    evil = '<script>alert("1")</script>'
    parsed = page(
        tmp_path,
        title=evil,
        facts={evil: evil},
        class_rows=[ClassRow(evil, 0.5, 0.5)],
        images=[(f'" onload="x {evil}', Image.new("RGB", (2, 2)))],
    )
    assert not parsed.all("script")
    assert set(parsed.all("img")[0]) == {"src", "width", "height", "alt"}


@pytest.mark.parametrize(
    "curve", [[(0, 0.5)], [(0, float("nan"))], [(10, 0.1), (20, float("nan")), (30, 0.4)]]
)
def test_short_and_broken_curves_are_drawn(tmp_path, curve):
    parsed = page(tmp_path, curve=curve)
    assert len(parsed.all("circle")) == sum(score == score for _, score in curve)


def test_empty_parts_are_left_out(tmp_path):
    parsed = page(tmp_path)
    assert not parsed.all("table")
    assert not parsed.all("h2")
