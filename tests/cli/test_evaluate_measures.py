"""`vitseg evaluate --measures` and `--without-class`."""

from __future__ import annotations

import json

import pytest


def test_measures_are_printed_and_written(vitseg, model, data, tmp_path):
    source = ("evaluate", model, "--data", f"folder:{data}")
    result = vitseg(*source, "--measures", "all", "--json", tmp_path / "scores.json")
    assert result.code == 0, result
    scores = json.loads((tmp_path / "scores.json").read_text())
    for text, value in (
        ("mean", scores["mdice"]),
        ("weighted by pixels", scores["fwiou"]),
        ("within 8 px of a boundary", scores["trimap"][3]["miou"]),
        ("boundary IoU", scores["boundary_iou"]),
        ("medium objects", scores["size_iou"]["medium"]["miou"]),
        ("calibration error", scores["ece"]),
    ):
        lines = [line for line in result.out.splitlines() if text in line]
        shown = "-" if value is None else f"{100 * value:.2f}"
        assert any(shown in line for line in lines), (text, shown, result.out)


def test_some_measures_or_none(vitseg, model, data):
    source = ("evaluate", model, "--data", f"folder:{data}")
    some = vitseg(*source, "--measures", "size,calibration").out
    assert "small objects" in some
    assert "ECE" in some
    assert "trimap" not in some
    none = vitseg(*source)
    assert "beyond" not in none.out
    assert vitseg(*source, "--measures", "none").out == none.out


def test_without_class(vitseg, model, data, tmp_path):
    scores = tmp_path / "scores.json"
    source = ("evaluate", model, "--data", f"folder:{data}", "--json", scores)
    assert vitseg(*source, "--without-class", "road").code == 0
    assert list(json.loads(scores.read_text())["per_class"]) == ["sky", "tree"]


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (("--measures", "boundery"), "'boundery' is not a known measure. Did you mean 'boundary'?"),
        (("--measures", ""), "'' is not a known measure"),
        (("--measures", "all,size"), "'all' is not a known measure"),
        (("--without-class", "rood"), "Did you mean 'road'?"),
    ],
)
def test_unknown_names_are_refused(refused, model, data, option, line):
    assert line in refused("evaluate", model, "--data", f"folder:{data}", *option)
