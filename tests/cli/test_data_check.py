"""`vitseg data check`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json

import pytest

from tests.checks.trees import bands, save_mask, write_classes, write_tree


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "data")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def test_a_sound_data_set_exits_with_0(vitseg, root):
    result = vitseg("data", "check", f"folder:{root}")
    assert result.code == 0
    assert result.messages == []
    assert f"folder:{root}: 0 errors and 0 warnings." in result.out
    for word in ("sky", "road", "tree", "images in train", "64x48", "image-sizes", "[32, 32]"):
        assert word in result.out


def test_warnings_exit_with_0(vitseg, root):
    write_classes(root, classes=["sky", "void", "tree"])
    result = vitseg("data", "check", f"folder:{root}")
    assert result.code == 0
    assert "0 errors and 1 warning." in result.out
    assert (
        vitseg("data", "check", f"folder:{root}", "--ignore", "void").out.count("void-class") == 0
    )


def test_errors_exit_with_1_and_are_named_with_file_and_fix(vitseg, root):
    path = save_mask(root, "train/t1", bands(0) + 7)
    result = vitseg("data", "check", f"folder:{root}")
    assert result.code == 1
    assert result.messages == []
    assert "1 error and 0 warnings." in result.out
    assert "id-outside-table" in result.out
    assert str(path) in result.out
    assert "Do the masks belong to another class list?" in result.out


@pytest.mark.parametrize("fault", ["no-class-file", "unreadable-image", "image-without-mask"])
def test_other_errors_exit_with_1(vitseg, root, fault):
    if fault == "no-class-file":
        (root / "classes.json").unlink()
    elif fault == "unreadable-image":
        (root / "images" / "train" / "t0.png").write_bytes(b"")
    else:
        (root / "masks" / "train" / "t0.png").unlink()
    result = vitseg("data", "check", f"folder:{root}")
    assert result.code == 1
    assert fault in result.out


def test_json(vitseg, root, tmp_path):
    path = save_mask(root, "train/t1", bands(0) + 7)
    target = tmp_path / "check.json"
    assert vitseg("data", "check", f"index:{root}", "--json", target).code == 1
    content = json.loads(target.read_text())
    assert content["data"] == f"index:{root}"
    assert (content["errors"], content["warnings"]) == (1, 0)
    assert content["suggested_crop_size"] == [32, 32]
    (error,) = [f for f in content["findings"] if f["severity"] == "error"]
    assert error["code"] == "id-outside-table"
    assert error["files"] == [str(path)]
    assert error["count"] == 1
    assert content["splits"]["val"]["classes"]["road"]["images"] == 2
    assert content["splits"]["train"]["readable_masks"] == 4


def test_html(vitseg, root, tmp_path):
    target = tmp_path / "check.html"
    assert vitseg("data", "check", f"index:{root}", "--html", target).code == 0
    assert target.read_text().startswith("<!DOCTYPE html>")


def test_splits_workers_and_merge(vitseg, root):
    save_mask(root, "train/t1", bands(0) + 7)
    check = ("data", "check", f"index:{root}")
    assert vitseg(*check, "--split", "val", "--workers", "1").code == 0
    assert vitseg(*check, "--split", "val", "--split", "train").code == 1
    result = vitseg(*check, "--split", "val", "--merge", "ground=road,tree")
    assert "ground" in result.out


def test_names_with_brackets_are_printed_as_they_are(vitseg, tmp_path):
    root = write_tree(tmp_path / "[red]data")
    write_classes(root, classes=["sky", "[bold]road", "tree"])
    path = save_mask(root, "train/t1", bands(0) + 7)
    result = vitseg("data", "check", f"index:{root}")
    assert result.code == 1
    assert str(path) in result.out
    assert "[bold]road" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "'nowhere' does not name a data set"),
        (["folder:{root}", "--split", "dev"], "'dev' is not a split of"),
        (["folder:{root}", "--ignore", "horse"], "'horse' is not a known class"),
        (["folder:{root}", "--merge", "horse"], "is not written NAME=CLASS,CLASS"),
        (["folder:{root}", "--json", "{root}/no/x.json"], "no does not exist"),
        (["folder:{root}", "--html", "{root}"], "is a folder: give the file to write"),
        (["folder:{root}/absent"], "is not a folder"),
    ],
)
def test_mistakes_exit_with_2(refused, root, arguments, message):
    line = refused("data", "check", *(argument.format(root=root) for argument in arguments))
    assert message in line


def test_the_last_line_says_how_many_of_how_many(vitseg, root, tmp_path):
    (root / "train.txt").write_text("train/t0\ntrain/t1\n")
    (root / "trainval.txt").write_text("train/t0\ntrain/t1\nval/v0\n")
    (root / "images" / "val" / "v0.png").write_bytes(b"no picture")
    target = tmp_path / "check.json"
    result = vitseg(
        "data",
        "check",
        f"index:{root}",
        "--split",
        "train",
        "--split",
        "trainval",
        "--json",
        target,
    )
    last = result.out.strip().splitlines()[-1]
    counts = json.loads(target.read_text())["images"]
    assert counts["listed"] == counts["read"] + 1
    assert last.endswith(
        f"{counts['on_disk']} pictures are on disk, {counts['listed']} of them in the splits checked, and "
        f"{counts['read']} were read."
    )
