"""The page of a tuning."""

from __future__ import annotations

import re

import pytest

from vitseg.studies.pages.trade_off import TradeOff, trade_off_chart, write_trade_off


def point(name, group, marker, miou, ratio, is_best=False):
    return TradeOff(name, group, marker, miou, 12.345, (0.5, 0.25), 20.0, ratio, is_best)


POINTS = [
    point("unpruned", "unpruned", "ring", 0.60, 1.0),
    point("a <1>", "both", "line", 0.50, 0.6),
    point("b", "both", "line", 0.58, 0.8, is_best=True),
    point("half", "input", "square", 0.55, 0.7),
    point("patch", "larger", "diamond", 0.52, 0.7),
]


def test_points_stand_where_their_numbers_are():
    chart = trade_off_chart(POINTS, 0.57)
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', chart)
    unpruned, best, worst = [tuple(map(float, found)) for found in circles]  # by their mIoU
    assert best[0] - worst[0] == pytest.approx(unpruned[0] - best[0], abs=0.2)  # 0.6, 0.8, 1.0
    assert (worst[1] - best[1]) / (best[1] - unpruned[1]) == pytest.approx(4, abs=0.1)
    assert best[2] > worst[2]
    (line,) = re.findall(r'<polyline [^>]*points="([^"]+)"', chart)
    assert line == " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in (worst, best))
    limit = float(re.search(r'dasharray[^>]*y1="([\d.]+)"', chart)[1])
    assert (limit - best[1]) / (best[1] - unpruned[1]) == pytest.approx(0.5, abs=0.1)
    assert chart.count("<rect") == 2
    assert "best b with 58.0 % at 0.80 of the time" in chart


def test_one_setting_alone_can_be_drawn():
    chart = trade_off_chart([point("unpruned", "unpruned", "ring", 0.5, 1.0, True)], 0.5)
    assert "nan" not in chart


def test_the_page_has_all_settings_and_what_was_left_out(tmp_path):
    path = tmp_path / "new" / "t.html"
    facts, left_out = {"Device": "cpu"}, {"patch 20": "it & that"}
    write_trade_off(path, "Title", "it pays < 1.", facts, POINTS, 0.57, left_out)
    page = path.read_text()
    for words in ("It pays &lt; 1.", "a &lt;1&gt;", "<strong>b</strong> (best)", "it &amp; that"):
        assert words in page
    assert '<td class="number">50 25</td>' in page
    assert page.count("<tr>") == 1 + len(POINTS)
    assert "<script" not in page
    assert "http" not in page
