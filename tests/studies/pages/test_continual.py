"""The page of learning in steps."""

from __future__ import annotations

import math
import re

from vitseg.studies.pages.continual import Curve, Lines, base_chart, write_continual

CURVES = (
    Curve("one & only", (0.6, 0.5, math.nan), False),
    Curve("two", (0.6, 0.4, 0.3), False),
    Curve("oracle", (0.7,), True),
)


def test_the_chart_has_a_line_for_each_run():
    chart = base_chart((2, 3, 4), CURVES)
    lines = re.findall(r'<polyline class="line" style="([^"]*)" points="([^"]*)"', chart)
    assert [len(points.split()) for _, points in lines] == [2, 3, 3]
    assert ["dasharray" in style for style, _ in lines] == [False, False, True]
    heights = {place.split(",")[1] for place in lines[2][1].split()}
    assert len(heights) == 1  # the oracle is level
    falling = [float(place.split(",")[1]) for place in lines[1][1].split()]
    assert falling == sorted(falling)  # down the page
    assert "one &amp; only" in chart
    assert chart.count("<circle") == 5


def test_the_page_leaves_out_what_is_empty(tmp_path):
    table = Lines("Scores", "in percent", ("Run", "old"), (("two <3", "30.00"),))
    empty = Lines("Forgetting", "none", ("Run",), ())
    write_continual(
        tmp_path / "page.html", "Title", {"Split": "2-1"}, (2, 3, 4), CURVES, [table, empty]
    )
    page = (tmp_path / "page.html").read_text()
    assert "two &lt;3" in page
    assert "Forgetting" not in page
    assert "<script" not in page
    nothing = [Curve("none", (math.nan,), False)]
    write_continual(tmp_path / "page.html", "Title", {}, (2,), nothing, [])
    assert "<polyline" not in (tmp_path / "page.html").read_text()
