"""The page of a comparison."""

from __future__ import annotations

import itertools
import re

import pytest

from vitseg.studies.pages.comparison import ComparedModel, comparison_chart, write_comparison


def model(name: str, miou: float | None = 0.5, cost: float | None = 1.0, ratio: float | None = 1.0):
    return ComparedModel(name, "segvit", "vit", miou, 10.0, 2.0, 20.0, cost, 3.0, ratio)


def circles(chart: str) -> list[tuple[float, float, float]]:
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', chart)
    return [(float(x), float(y), float(r)) for x, y, r in found]


def test_points_stand_where_their_numbers_are():
    models = [model("a", 0.4, 1.0, 1.0), model("b", 0.6, 10.0, 4.0), model("c", 0.5, 100.0, 0.01)]
    chart = comparison_chart(models)
    (xb, yb, rb), (xc, yc, rc), (xa, ya, ra) = circles(chart)  # the best first
    assert xb - xa == pytest.approx(xc - xb, abs=0.2)  # one decade each
    assert ya - yc == pytest.approx(yc - yb, abs=0.2)
    assert rb == pytest.approx(2 * ra)  # four times the time, four times the area
    assert rc == 5.0  # but never too small to be seen
    assert "best b with 60.0 %" in chart


def test_names_do_not_lie_over_each_other():
    chart = comparison_chart([model(name, 0.5 + 0.001 * i) for i, name in enumerate("abcd")])
    heights = sorted(
        float(y) for y, name in re.findall(r'y="([\d.]+)" text-anchor="start">(.)<', chart)
    )
    assert len(heights) == 4
    assert all(b - a >= 15 for a, b in itertools.pairwise(heights))


def test_the_page_has_all_models_and_says_what_failed(tmp_path):
    failed = ComparedModel(
        "<bad>", "setr", "vit", None, None, None, None, None, None, None, error="it & that"
    )
    write_comparison(
        tmp_path / "new" / "c.html", "Title", {"Seed": "0"}, [model("good <1>"), failed]
    )
    page = (tmp_path / "new" / "c.html").read_text()
    assert "good &lt;1&gt;" in page
    assert "&lt;bad&gt;" in page
    assert "it &amp; that" in page
    assert page.count("<circle") == 1
    assert "<script" not in page
    assert "http" not in page


def test_a_page_without_any_success_has_no_chart(tmp_path):
    failed = ComparedModel("x", "setr", "vit", None, None, None, None, None, None, None, "no")
    write_comparison(tmp_path / "c.html", "Title", {}, [failed])
    assert "<svg" not in (tmp_path / "c.html").read_text()
