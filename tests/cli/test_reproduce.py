"""`vitseg reproduce`: its needs, its row, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.studies.reproduce.test_reproduce import NAME, OVERRIDES

SMALL = ("reproduce", NAME, *OVERRIDES)


def test_needs_alone(vitseg):
    result = vitseg("reproduce", "camvid/segvit-vit_tiny", "--needs")
    assert result.code == 0, result.err
    heads = [line.partition(":")[0] for line in result.out.splitlines()]
    assert heads == ["camvid/segvit-vit_tiny", "published", "data", "weights", "time", "memory"]
    assert "Recorded here by the short protocol: 56.2 mIoU" in result.out
    assert "train (367 images) and val (101 images)" in result.out
    assert "1,000 iterations of 4 crops of 256 x 256 pixels" in result.out


@pytest.mark.slow
def test_a_row_is_trained_shown_and_shown_again(vitseg, data, tmp_path):
    command = (*SMALL, "--data", f"folder:{data}", "--out", tmp_path / "out")
    first = vitseg(*command)
    assert first.code == 0, first.err
    assert "published: nothing." in first.out
    assert "changed: training.iterations=2" in first.out
    written = json.loads((tmp_path / "out" / "reproduction.json").read_text())
    assert written["reference"] is None
    miou = written["row"]["miou"]["ours"]
    assert f"{miou:.2f}" in first.out
    again = vitseg(*command)
    assert again.out == first.out
    assert "iteration 2" not in again.err


def test_nothing_to_write_to(refused, data):
    line = refused(*SMALL, "--data", f"folder:{data}")
    assert line.startswith("ConfigError: --out is missing")


@pytest.mark.slow
def test_weights_that_are_not_there(refused, shared, tmp_path, monkeypatch):
    from vitseg.studies.reproduce import weights

    monkeypatch.setattr(weights, "is_reachable", lambda: False)
    monkeypatch.setattr(weights.huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    camvid = shared / "data" / "camvid"
    line = refused(
        "reproduce", "camvid/segvit-vit_tiny", "--data", f"camvid:{camvid}", "--out", tmp_path / "o"
    )
    assert "are not on this machine, and the hub does not answer: fetch" in line
    assert not (tmp_path / "o").exists()
