"""The page of the study, of results that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from best import SCALES, read_all, read_best
from bootstrap import ious, mean_iou
from results import Result, hits_of, packed
from row import Row, RowList, Table
from study import Study
from tables import best_models, classes, main, page

from vitseg.checkpoint.versions import package_versions
from vitseg.errors import ConfigError


def counts(right: int, n: int = 12) -> np.ndarray:
    """Images of two classes of 100 pixels, of which some are right, about as many in each image."""
    found = right + np.arange(n) % 3
    matrices = [[[each, 100 - each], [100 - each, each]] for each in found]
    return np.array(matrices)


def result(row: Row, seed: int, right: int) -> Result:
    share = (right + 1) / (200 - right - 1)
    content = {
        "miou": share, "minutes": 8.0, "gmacs": 6.0, "device": "cpu", "commit": "abc",
        "per_class": {"a": share, "b": share},
        "versions": {"vitseg": "0.1.0", "torch": "2.15.0", "timm": "1.0.31"},
        "images": {"last": packed(counts(right), "confusions")},
    }  # fmt: skip
    return Result(row, seed, content)


def test_rows_stand_from_the_best_on_and_pairs_say_whether_they_can_be_told(tmp_path):
    good, bad, none = (
        Row(name, "g", name.title(), "r", seeds=(0, 1)) for name in ("good", "bad", "none")
    )
    rows = RowList(
        (bad, good, none), (Table("Ranked", ("bad", "good", "none")), Table("Later", ("none",)))
    )
    results = [result(good, 0, 80), result(good, 1, 82), result(bad, 0, 60), result(bad, 1, 58)]
    text = page(Study(rows, results), tmp_path)
    ranked = text[text.index("## Ranked") : text.index("## Later")].splitlines()
    assert ranked[4].startswith("| Good | `good` | 69.5 | 2.0 | [")  # 81 / 119 and 83 / 117
    assert ranked[5].startswith("| Bad | `bad` | 42.9 | 1.4 | [")  # 61 / 139 and 59 / 141
    assert "Not run: `none`." in ranked
    pair = next(line for line in ranked if "less" in line)
    assert pair.startswith("| `good` less `bad` | +26.6 | [")
    assert pair.endswith("| +24.2, +29.1 | yes |")
    assert "## Later\n\nNot run." in text
    assert "not run" in text[text.index("## Claims") :]


def test_tables_of_many_pairs_are_folded(tmp_path):
    rows = tuple(Row(f"row{each}", "g", "Row", "r") for each in range(6))
    few, many = (
        Table(title, tuple(row.name for row in of))
        for title, of in (("Few", rows[:5]), ("Many", rows))
    )
    results = [result(row, 0, 60 + 4 * place) for place, row in enumerate(rows)]
    text = page(Study(RowList(rows, (few, many)), results), tmp_path)
    ten, fifteen = (
        text[: text.index("## Many")],
        text[text.index("## Many") : text.index("## The best")],
    )
    assert "<details>" not in ten
    assert "<details>\n<summary>All 15 pairs</summary>\n\n| pair |" in fifteen
    assert fifteen.index(" less ") < fifteen.index("|\n\n</details>\n\n")


def best_file(name: str, protocol: str, right: int) -> dict:
    matrices = counts(right)
    found = ious(hits_of(matrices))
    return {
        "format": 1, "model": name, "method": "segvit", "iterations": 9, "split": "val", "protocol": protocol,
        "versions": package_versions(), "per_class": dict(zip("ab", found.tolist(), strict=True)),
        "images": {"last": packed(matrices, "confusions")},
        "backbone": "vit", "weights_sha256": "aa", "content_hash": "bb",
        "inference": {
            "resize": [960, 360], "scales": [1.0] if protocol == "single" else list(SCALES),
            "flip": protocol == "multi",
        },
        "recipe": {"data": {"augment": {"crop_size": [64, 96]}}, "training": {"seed": 3}}, "training_minutes": None,
        "miou": float(mean_iou(found)), "commit": None, "device": "cpu",
    }  # fmt: skip


def written(folder: Path, content: dict) -> Path:
    path = folder / f"{content['model']}-{content['split']}-{content['protocol']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_best_model_with_what_several_scales_gain(tmp_path):
    for protocol, right in (("single", 80), ("multi", 84)):
        written(tmp_path / "best", best_file("joint", protocol, right))
    text = "\n".join(best_models(tmp_path))
    assert "| joint | segvit | 9 | 3 | 64 x 96 | fit into 960 x 360 |  |" in text
    assert "| joint | val | single | 68.1 | [" in text
    line = next(line for line in text.splitlines() if "| multi |" in line)
    assert "| 73.9 | [" in line  # 85 / 115
    assert "| +5.8 [" in line
    assert "| a | 68.1 | [" in text
    assert " less " not in text


def test_the_best_model_on_val_comes_first_with_its_lead(tmp_path):
    for name, right, on_test in (("one", 80, 70), ("other", 84, 60)):
        written(tmp_path / "best", best_file(name, "single", right))
        written(tmp_path / "best", {**best_file(name, "single", on_test), "split": "test"})
    lines = best_models(tmp_path)
    models = [line.split()[1] for line in lines if line.startswith(("| one | s", "| other | s"))]
    assert models == ["other", "one"]
    pairs = [line for line in lines if "other less one" in line]
    assert pairs[0].startswith("| other less one | val | single | +5.8 [")
    assert pairs[1].startswith("| other less one | test | single | -11.")
    assert sum(line.endswith("single scale:") for line in lines) == 2


def test_classes_say_what_they_are_taken_for():
    content = best_file("joint", "single", 80)
    assert any(
        line.startswith("| a | 68.1 |") and line.endswith("| b (19.0) |")
        for line in classes(content)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(format=3),
        lambda c: c.update(miou=0.9),
        lambda c: c.update(split="test"),
        lambda c: c.pop("method"),
        lambda c: c.pop("content_hash"),
        lambda c: c["images"].clear(),
        lambda c: c["images"]["last"].update(data="AAAA"),
        lambda c: c["per_class"].popitem(),
    ],
)
def test_a_damaged_file_of_the_best_model_is_named(tmp_path, change):
    path = written(tmp_path, best_file("joint", "single", 80))
    assert read_best(path)["method"] == "segvit"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"joint-val-single\.json is no result of best\.py"):
        read_best(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_best(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_sha256": "cc"}, r"of other weights \(joint\)"),
        ({"content_hash": "cc"}, r"of other images \(val\)"),
    ],
)
def test_files_of_two_models_or_other_images_are_not_mixed(tmp_path, change, said):
    written(tmp_path, best_file("joint", "single", 80))
    written(tmp_path, {**best_file("joint", "multi", 84), **change})
    with pytest.raises(ConfigError, match=said):
        read_all(tmp_path)


def test_no_other_file_is_replaced_by_the_page(tmp_path, monkeypatch, capsys):
    def made(*options: object) -> str:
        monkeypatch.setattr("sys.argv", ["tables.py", *map(str, options)])
        with pytest.raises(SystemExit, match="2"):
            main()
        return capsys.readouterr().err

    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.md").write_text("mine")
    assert "notes has no result files" in made("--out", tmp_path / "notes")
    assert "typo has no result files" in made("--out", tmp_path / "typo", "--to", tmp_path / "x.md")
    assert "is no page of the study" in made("--to", tmp_path / "notes.md")
    assert "is no page of the study" in made("--to", tmp_path / "notes")
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert not (tmp_path / "x.md").exists()
