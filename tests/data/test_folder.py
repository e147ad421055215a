from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError

NAMES = ["sky", "road", "void"]


def add(root: Path, key: str, ids: np.ndarray | None = None, suffix: str = ".png") -> None:
    """Write an image and its mask; `key` is the path below images/ and masks/."""
    ids = np.zeros((4, 6), np.uint8) if ids is None else ids
    pixels = np.full((*ids.shape, 3), 9, np.uint8)
    for folder, array, ending in (("images", pixels, suffix), ("masks", ids, ".png")):
        path = root / folder / f"{key}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def write_classes(root: Path, **content) -> None:
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, **content}))


@pytest.fixture
def root(tmp_path):
    """Three images without splits."""
    for key in ("a", "b", "c"):
        add(tmp_path, key)
    write_classes(tmp_path)
    return tmp_path


def test_without_splits_there_is_all(root):
    dataset = open_dataset(f"folder:{root}", "all")
    assert dataset.ids == ("a", "b", "c")
    assert len(dataset) == 3
    assert (dataset.name, dataset.split) == ("folder", "all")
    sample = dataset[1]
    assert sample.id == "b"
    assert sample.image.shape == (4, 6, 3)
    assert sample.image.dtype == np.uint8
    assert sample.label_map.shape == (4, 6)
    assert sample.label_map.dtype == np.int64
    assert dataset.image_source(1) == root / "images" / "b.png"
    assert dataset.mask_files(1) == (root / "masks" / "b.png",)
    assert len(list(dataset)) == 3


def test_splits_by_files(root):
    (root / "train.txt").write_text("c\n\na\n")
    (root / "val.txt").write_text("b")
    assert open_dataset(f"folder:{root}", "train").ids == ("c", "a")
    assert open_dataset(f"folder:{root}", "val").ids == ("b",)


def test_ids_may_lie_in_sub_folders(root):
    add(root, "city/one/x.y")
    (root / "train.txt").write_text("a\ncity/one/x.y\n")
    assert open_dataset(f"folder:{root}", "train")[1].id == "city/one/x.y"


def test_splits_by_folders(tmp_path):
    write_classes(tmp_path)
    add(tmp_path, "train/a")
    add(tmp_path, "train/deep/b")
    add(tmp_path, "val/a")
    assert open_dataset(f"folder:{tmp_path}", "train").ids == ("a", "deep/b")
    val = open_dataset(f"folder:{tmp_path}", "val")
    assert val.ids == ("a",)
    assert val.mask_files(0) == (tmp_path / "masks" / "val" / "a.png",)


def test_with_both_the_folder_of_the_split_goes_first(root):
    add(root, "val/b")
    (root / "val.txt").write_text("a\nb\nval/b\n")
    dataset = open_dataset(f"folder:{root}", "val")
    assert [dataset.image_source(index).parent.name for index in range(2)] == ["images", "val"]
    assert len(dataset) == 2  # b and val/b are one file
    assert [(each.code, each.files) for each in dataset.findings] == [("listed-twice", ("val/b",))]


def test_folders_may_be_links(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    add(elsewhere, "a")
    root = tmp_path / "root"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        (root / kind / "train").symlink_to(elsewhere / kind)
    write_classes(root)
    assert open_dataset(f"folder:{root}", "train").ids == ("a",)


def test_suffixes_may_differ_and_other_files_are_passed_over(root):
    add(root, "d", suffix=".JPG")
    (root / "images" / "notes.md").write_text("x")
    (root / "images" / "._d.jpg").write_text("x")
    assert open_dataset(f"folder:{root}", "all").image_source(3).name == "d.JPG"


def test_class_at_the_ignore_index_is_dropped_and_the_others_move_up(root):
    write_classes(root, ignore_index=1, palette=[[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    add(root, "a", np.array([[0, 1, 2, 255]], np.uint8))
    dataset = open_dataset(f"folder:{root}", "all")
    assert dataset.classes.names == ("sky", "void")
    assert dataset.classes.palette == ((1, 1, 1), (3, 3, 3))
    assert dataset.label_mapping == {0: 0, 1: IGNORE_INDEX, 2: 1, 255: IGNORE_INDEX}
    assert dataset[0].label_map.tolist() == [[0, IGNORE_INDEX, 1, IGNORE_INDEX]]


def test_ignore_index_may_be_no_class(root):
    write_classes(root, ignore_index=9)
    add(root, "a", np.array([[0, 9, 2]], np.uint8))
    dataset = open_dataset(f"folder:{root}", "all")
    assert dataset.classes.num_classes == 3
    assert dataset[0].label_map.tolist() == [[0, IGNORE_INDEX, 2]]


def test_more_than_255_classes(root):
    (root / "classes.json").write_text(json.dumps({"classes": [f"c{i}" for i in range(400)]}))
    add(root, "a", np.array([[0, 255, 256, 399]], np.uint16))
    assert open_dataset(f"folder:{root}", "all")[0].label_map.tolist() == [[0, 255, 256, 399]]


@pytest.mark.parametrize("gone", ["", "images", "masks"])
def test_missing_folder(root, gone):
    shutil.rmtree(root / gone)
    with pytest.raises(DataError, match=r"is not a folder\. A data set folder holds images/"):
        open_dataset(f"folder:{root}", "all")


def test_folder_without_images(root):
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"images holds no images\. Known suffixes: \.jpg"):
        open_dataset(f"folder:{root}", "all")


def test_missing_classes(root):
    (root / "classes.json").unlink()
    with pytest.raises(DataError, match=r'classes\.json does not exist.*\{"classes"'):
        open_dataset(f"folder:{root}", "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "malformed"),
        (
            '{"clases": ["a"]}',
            "'clases' is not a known field of a class file. Did you mean 'classes'?",
        ),
        ('{"classes": []}', "classes: "),
        ('{"classes": ["a", "a"]}', "class names must be unique"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "2 entries but palette has 1"),
        ('{"classes": ["a"], "palette": [[1, 2, 300]]}', "palette.0.2: "),
        ('{"classes": ["a"], "ignore_index": -1}', "ignore_index: "),
        ('{"classes": ["a"], "ignore_index": 0}', "no class beside the one at ignore_index"),
    ],
)
def test_malformed_classes(root, text, message):
    (root / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r"classes\.json") as caught:
        open_dataset(f"folder:{root}", "all")
    assert message in str(caught.value)


def test_unknown_split_lists_the_valid_ones(root):
    with pytest.raises(DataError, match=r"'train' is not a split of .* Valid: all\."):
        open_dataset(f"folder:{root}", "train")
    (root / "train.txt").write_text("a")
    add(root, "val/z")
    with pytest.raises(DataError, match=r"Valid: train, val\."):
        open_dataset(f"folder:{root}", "all")


def test_empty_and_unreadable_split_files(root):
    (root / "train.txt").write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt lists no ids"):
        open_dataset(f"folder:{root}", "train")
    (root / "train.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match=r"train\.txt is not a readable text file"):
        open_dataset(f"folder:{root}", "train")


def test_listed_id_without_image(root):
    (root / "train.txt").write_text("a\nz.png\n")
    with pytest.raises(
        DataError, match=r"1 of 2 ids have no (image|mask) file in .*images: z\.png\."
    ):
        open_dataset(f"folder:{root}", "train")


def test_images_without_masks_are_counted(root):
    for key in "defgh":
        add(root, key)
        (root / "masks" / f"{key}.png").unlink()
    with pytest.raises(
        DataError, match=r"5 of 8 ids have no (image|mask) file in .*masks: d, e, f, \.\.\.\."
    ):
        open_dataset(f"folder:{root}", "all")


def test_two_files_of_one_stem(root):
    shutil.copy(root / "images" / "a.png", root / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.png have the same stem"):
        open_dataset(f"folder:{root}", "all")


def test_sizes_that_differ(root):
    Image.new("L", (6, 5)).save(root / "masks" / "b.png")
    with pytest.raises(DataError, match=r"b\.png is 6x5 pixels, but its image .* is 6x4"):
        open_dataset(f"folder:{root}", "all")[1]


def test_ids_outside_the_class_table(root):
    write_classes(root, ignore_index=2)
    add(root, "a", np.array([[0, 3, 3, 150]], np.uint8))
    dataset = open_dataset(f"folder:{root}", "all")
    with pytest.raises(DataError) as caught:
        dataset[0]
    message = str(caught.value)
    assert message.startswith(f"{root / 'masks' / 'a.png'} has ids outside the class table: ")
    assert "3 (2 pixels), 150 (1 pixels), but folder allows 0-1 and 2, 255 (ignore)." in message
    assert "classes.json" in message


def test_ids_of_wide_masks_outside_the_class_table(root):
    Image.fromarray(np.array([[0, -5, 70000, 255]], np.int32)).save(root / "masks" / "a.tif")
    (root / "masks" / "a.png").unlink()
    Image.new("RGB", (4, 1)).save(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"negative or above 65535 \(2 pixels\), but folder allows"):
        open_dataset(f"folder:{root}", "all")[0]


def test_many_unknown_ids_are_cut_short(root):
    add(root, "a", np.arange(100, 110, dtype=np.uint8)[None])
    with pytest.raises(DataError, match=r"104 \(1 pixels\) and 5 more, but"):
        open_dataset(f"folder:{root}", "all")[0]
