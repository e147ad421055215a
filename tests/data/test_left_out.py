"""What lies beside the images and is not used is said, whatever it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.data.formats.content import (
    save,
    write_classes,
    write_coco_polygons,
    write_index,
    write_yolo,
)
from tests.data.formats.exports import write_labelme
from vitseg.checks.fast import fast_findings
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked
from vitseg.data.finding import Finding
from vitseg.errors import DataError

OTHERS = ("1.CR2", "2.dng", "3.psd", "4.svg", "5.pdf", "6.tga")


@pytest.fixture
def flat(tmp_path):
    """Six images 0 to 5 without splits."""
    for key in range(6):
        save(tmp_path / "images" / f"{key}.jpg", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / "masks" / f"{key}.png", np.zeros((4, 6), np.uint8))
    write_classes(tmp_path)
    return tmp_path


def found(root, split: str, code: str) -> list[Finding]:
    dataset = open_unchecked(f"folder:{root}", split)
    return [each for each in dataset.findings if each.code == code]


def shown(root) -> str:
    from vitseg.cli.app import app

    result = CliRunner().invoke(app, ["data", "show", f"folder:{root}"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "write", [write_index, write_yolo, write_coco_polygons, write_labelme], ids=lambda w: w.__name__
)
def test_pictures_that_are_not_read_are_one_finding(tmp_path, write):
    write(tmp_path)
    folder = tmp_path / "images" if (tmp_path / "images").is_dir() else tmp_path / "train"
    for name in OTHERS:
        (folder / name).write_bytes(b"x")
    (folder / ".hidden.psd").write_bytes(b"x")
    (finding,) = found(tmp_path, "train", "other-picture")
    assert (finding.severity, finding.count) == ("warning", len(OTHERS))
    assert "6 files beside the images are named like pictures" in finding.message
    assert finding.message in shown(tmp_path)
    assert shown(tmp_path).count("named like pictures") == 1
    warned = fast_findings(open_dataset(f"folder:{tmp_path}", "train"))
    assert "other-picture" in [each.code for each in warned]


def test_masks_in_other_formats_are_said(flat):
    (flat / "masks" / "6.xcf").write_bytes(b"x")
    assert found(flat, "all", "other-picture")[0].count == 1
    np.save(flat / "masks" / "0.npy", np.zeros((4, 6)))
    for path in (flat / "masks").glob("*.png"):
        path.unlink()
    (finding,) = open_unchecked(f"folder:{flat}", "all").findings
    assert "The folder holds no pictures, but 0.npy, 6.xcf." in finding.message


def test_a_folder_of_nothing_else_is_told_by_what_it_holds(flat):
    for path in (flat / "images").iterdir():
        path.rename(path.with_suffix(".nef"))
    with pytest.raises(DataError, match=r"holds no images, but 0\.nef, 1\.nef, 2\.nef, \.\.\."):
        open_dataset(f"folder:{flat}", "all")


@pytest.mark.parametrize(
    ("name", "text", "share"),
    [
        ("holdout.txt", "0\n1\nx\ny\nz\nu\nv\n", "29%"),
        ("holdout.txt", "0\nx\ny\n", "33%"),
        ("train.csv", "0\n1\n2\n", "100%"),
        ("val.lst", "images/3.jpg\n", "100%"),
        ("splits/holdout.text", "# comment\n4\n5\n", "100%"),
    ],
)
def test_lists_that_are_not_read_are_one_finding(flat, name, text, share):
    (flat / name).parent.mkdir(exist_ok=True)
    (flat / name).write_text(text)
    (finding,) = found(flat, "all", "list-not-used")
    assert finding.severity == "warning"
    assert f"{name.rpartition('/')[2]} ({share} of its lines)" in finding.message
    assert finding.message in shown(flat)


def test_notes_are_not_told_of(flat):
    (flat / "notes.txt").write_text("0 is dark\nsee 3\n\n")
    (flat / "README.txt").write_text("hello\n")
    assert open_unchecked(f"folder:{flat}", "all").findings == ()


def test_a_list_behind_another_of_its_name(flat):
    (flat / "splits").mkdir()
    (flat / "splits" / "train.txt").write_text("3\n4\n")
    (flat / "train.txt").write_text("0\n1\n")
    assert open_dataset(f"folder:{flat}", "train").ids == ("0", "1")
    (finding,) = found(flat, "train", "list-not-used")
    assert finding.files == (str(flat / "splits" / "train.txt"),)


def test_lists_beside_coco_are_not_used_and_said(tmp_path):
    write_coco_polygons(tmp_path)
    (tmp_path / "small.txt").write_text("0\n1\n")
    assert list_splits(f"folder:{tmp_path}") == ("train", "val")
    assert found(tmp_path, "train", "list-not-used")[0].count == 1


def test_class_files_that_say_something_else(flat):
    (flat / "labels.txt").write_text("road\nsky\nvoid\n")
    (flat / "classes.txt").write_text("background\ncar\ntree\n")  # the same
    (finding,) = found(flat, "all", "class-file-not-used")
    assert (
        finding.message == "The classes are those of classes.json; labels.txt says something else."
    )
    assert finding.message in shown(flat)


def test_class_files_beside_annotations_that_name_the_classes(tmp_path):
    write_coco_polygons(tmp_path)
    (tmp_path / "classes.txt").write_text("car\ntree\n")
    assert not found(tmp_path, "train", "class-file-not-used")
    (tmp_path / "labels.json").write_text(json.dumps(["road"]))  # no known name of a class file
    (tmp_path / "classes.json").write_text(json.dumps(["road", "sky"]))
    (finding,) = found(tmp_path, "train", "class-file-not-used")
    assert "those of the annotations; classes.json says" in finding.message
