"""Splits are files whose lines are ids of images, and folders; whatever else lies beside the data is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.data.formats.content import (
    SPLITS,
    ids,
    save,
    write_binary_by_class,
    write_classes,
    write_index,
    write_yolo,
)
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked
from vitseg.data.id_lists import IdIndex
from vitseg.errors import DataError


@pytest.fixture
def flat(tmp_path):
    """Five images a, b, c, deep/d and e without splits."""
    for key in ("a", "b", "c", "deep/d", "e"):
        save(tmp_path / "images" / f"{key}.jpg", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / "masks" / f"{key}.png", np.zeros((4, 6), np.uint8))
    write_classes(tmp_path)
    return tmp_path


SPELLINGS = {
    "ids": "a\nb\n",
    "suffix": "a.jpg\nb.jpg\n",
    "suffix of the mask": "a.png\nb.png\n",
    "folder": "images/a.jpg\nimages/b.jpg\n",
    "dot": "./a\n./images/b.jpg\n",
    "other machine": "/home/bob/data/images/a.jpg\n../images/b.jpg\n",
    "windows": "C:\\data\\images\\a.jpg\r\nimages\\b.jpg\r\n",
    "image and mask": "images/a.jpg masks/a.png\nimages/b.jpg masks/b.png\n",
    "slashes": "/images/a.jpg /masks/a.png\n/images/b.jpg /masks/b.png\n",
    "comma": "a.jpg,a.png\nb.jpg,b.png\n",
    "utf-16": "a\nb\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_ids(flat, spelling):
    encoding = "utf-16" if spelling == "utf-16" else "utf-8-sig"
    (flat / "train.txt").write_bytes(SPELLINGS[spelling].encode(encoding))
    dataset = open_dataset(f"folder:{flat}", "train")
    assert dataset.ids == ("a", "b")
    assert dataset.findings == ()


def test_an_id_below_a_folder_may_be_its_last_part_if_that_is_clear(flat):
    (flat / "train.txt").write_text("d\n")
    assert open_dataset(f"folder:{flat}", "train").ids == ("deep/d",)
    save(flat / "images" / "other" / "d.jpg", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"1 of 1 ids have no image file .*: d\. These are the"):
        open_dataset(f"folder:{flat}", "train")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_names.txt", "a\nb\nc\n"),  # which are ids, too
        ("labels.txt", "a\nb\n"),
        ("obj.names.txt", "road\nsky\n"),
        ("README.txt", "Photos of 2026.\nb is blurred\n"),
        ("notes.txt", "a is good\nb is blurred\n"),
        ("train_log.txt", "epoch 1: loss 0.5\n"),
        ("empty.txt", ""),
        ("binary.txt", "\0\1"),
    ],
)
def test_other_text_files_are_no_splits(flat, name, text):
    (flat / name).write_text(text)
    assert list_splits(f"folder:{flat}") == ("all",)
    (flat / "train.txt").write_text("a\n")
    (flat / "fold 1.txt").write_text("b\nc.jpg\n")
    assert set(list_splits(f"folder:{flat}")) == {"train", "fold 1"}


def test_a_missing_split_says_what_is_wrong_with_its_file(flat):
    (flat / "fold1.txt").write_text("x\ny\na\n")
    with pytest.raises(DataError, match=r"fold1\.txt is none, since most of its lines name no"):
        open_dataset(f"folder:{flat}", "fold1")


def test_a_list_that_fits_nothing_shows_both_sides(flat):
    (flat / "train.txt").write_text("x\ny\n")
    with pytest.raises(
        DataError, match=r"2 of 2 ids have no image file in .*: x, y\. .*the images are a, b, c, "
    ):
        open_unchecked(f"folder:{flat}", "train")


def test_the_same_image_by_two_paths_is_used_once(flat):
    (flat / "train.txt").write_text("a\n./a\nimages/a.jpg\nb\n")
    dataset = open_dataset(f"folder:{flat}", "train")
    assert dataset.ids == ("a", "b")
    assert [(each.code, each.count) for each in dataset.findings] == [("listed-twice", 2)]


def test_lists_beside_folders_of_splits(tmp_path):
    for nested in (False, True):
        root = tmp_path / str(nested)
        write_index(root)
        if nested:
            for split in SPLITS:
                for kind in ("images", "masks"):
                    (root / split).mkdir(exist_ok=True)
                    (root / kind / split).rename(root / split / kind)
            for kind in ("images", "masks"):
                (root / kind).rmdir()
        (root / "train.txt").write_text("2.png\n0\n")
        assert open_dataset(f"folder:{root}", "train").ids == ("2", "0")
        assert len(open_dataset(f"folder:{root}", "val")) == 2


def test_lists_in_other_formats(tmp_path):
    write_binary_by_class(tmp_path / "binary")
    (tmp_path / "binary" / "train.txt").write_text("2.png\n0\n2\n")
    dataset = open_dataset(f"folder:{tmp_path / 'binary'}", "train")
    assert dataset.ids == ("2", "0")
    np.testing.assert_array_equal(dataset[0].label_map, ids("train", 2))
    root = tmp_path / "yolo"
    write_yolo(root)
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("car\ntree\n")
    (root / "train.txt").write_text("images/train/2.png\n./images/train/0.png\n")
    assert len(open_dataset(f"folder:{root}", "train")) == 2


def test_a_folder_of_another_name_beside_images_is_no_split(flat):
    assert list_splits(f"folder:{flat}") == ("all",)
    assert len(open_dataset(f"folder:{flat}", "all")) == 5


def test_where_nothing_pairs_both_sides_are_shown_before_a_class_file_is_asked_for(tmp_path):
    save(tmp_path / "images" / "street 1.png", np.zeros((4, 6, 3), np.uint8))
    save(tmp_path / "masks" / "seg-0001.png", np.zeros((4, 6), np.uint8))
    for spec in (f"folder:{tmp_path}", f"index:{tmp_path}"):
        with pytest.raises(DataError, match=r"images are street 1; the 1 masks are seg-0001\."):
            open_dataset(spec, "all")


def test_yolo_without_labels_shows_both_sides(tmp_path):
    write_yolo(tmp_path)
    for path in (tmp_path / "labels" / "train").iterdir():
        path.rename(path.with_stem(f"x{path.stem}"))
    with pytest.raises(DataError, match=r"images are 0, 1, 2; that folder holds .* x0\.txt, x1"):
        open_dataset(f"yolo:{tmp_path}", "train")


def test_an_index_of_ids():
    index = IdIndex(["a", "x/b", "y/b", "x/c.d"], "images")
    found = {
        name: index.find(name) for name in ("a", "b", "x/b", "c.d", "images/a", "other/a", "A")
    }
    assert found == {
        "a": "a",
        "b": None,  # two
        "x/b": "x/b",
        "c.d": "x/c.d",
        "images/a": "a",
        "other/a": None,
        "A": None,
    }


def test_an_index_with_files_goes_by_their_whole_names_first():
    files = {
        "a": "a.jpg", "a.jpg": "a.jpg.png", "images/b": "images/b.JPG", "masks/b.jpg": "masks/b.jpg.png",
        "previews/b": "previews/b.png", "x/c": "x/c.tif", "y/c": "y/c.tif", "masks/c.tif": "masks/c.tif.png",
    }  # fmt: skip
    index = IdIndex(files, "data", files=files)
    wanted = {
        "a": "a",
        "a.jpg": "a",
        "a.jpg.png": "a.jpg",
        "data/a.jpg": "a",
        "a.tif": "a",  # converted since
        "b.jpg": "images/b",
        "/elsewhere/images/b.jpg": "images/b",
        "b.png": "previews/b",
        "b": None,  # two
        "b.gif": None,
        "c.tif": None,  # two, and the mask is neither
        "/elsewhere/y/c.tif": "y/c",
    }
    assert {name: index.find(name) for name in wanted} == wanted
    assert index.of_last("b.JPG", str) == ["images/b"]
    assert index.of_last("b", str) == ["images/b", "previews/b"]


def test_a_list_of_files_means_these_and_not_pictures_of_their_masks(flat):
    save(flat / "images" / "a.jpg.png", np.zeros((4, 6, 3), np.uint8))
    save(flat / "masks" / "a.jpg.png", np.zeros((4, 6), np.uint8))
    (flat / "train.txt").write_text("a.jpg\n")
    assert open_dataset(f"folder:{flat}", "train").ids == ("a",)


def test_masks_beside_their_images(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.tif", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / f"{number}_mask.tif", np.full((4, 6), number % 2, np.uint8))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["road", "sky"]}))
    (tmp_path / "train.txt").write_text("0\n1\n")
    assert open_dataset(f"folder:{tmp_path}", "train").ids == ("0", "1")
    assert (open_dataset(f"folder:{tmp_path}", "train")[1].label_map == 1).all()


def test_comments_in_lists_are_passed_over(flat):
    (flat / "train.txt").write_text("# my images\na\n#b\nc\n")
    assert open_dataset(f"folder:{flat}", "train").ids == ("a", "c")
    save(flat / "images" / "#b.jpg", np.zeros((4, 6, 3), np.uint8))
    save(flat / "masks" / "#b.png", np.zeros((4, 6), np.uint8))
    assert open_dataset(f"folder:{flat}", "train").ids == ("a", "#b", "c")


def test_names_in_capitals(flat):
    (flat / "images").rename(flat / "Images")
    (flat / "masks").rename(flat / "MASKS")
    (flat / "classes.json").rename(flat / "Classes.JSON")
    (flat / "TRAIN.TXT").write_text("a\n")
    (flat / "Validation.txt").write_text("b\n")
    assert list_splits(f"folder:{flat}") == ("TRAIN", "Validation")
    assert open_dataset(f"folder:{flat}", "train").ids == ("a",)
    assert open_dataset(f"folder:{flat}", "val").ids == ("b",)


@pytest.mark.parametrize("inner", ["test/images", "test/masks"])
def test_empty_folders_of_a_split_are_none(tmp_path, inner):
    for split in ("train", "val"):
        save(tmp_path / split / "images" / f"{split}.png", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / split / "masks" / f"{split}.png", np.zeros((4, 6), np.uint8))
    for kind in ("images", "masks"):
        (tmp_path / "test" / kind).mkdir(parents=True)
    write_classes(tmp_path)
    assert list_splits(f"folder:{tmp_path}") == ("train", "val")
    (tmp_path / inner / "1.raw").write_bytes(b"x")  # which is to be told, not passed over
    assert list_splits(f"folder:{tmp_path}") == ("test", "train", "val")


ENDINGS = (
    "_mask", "-mask", ".mask", "_Mask", "_MASKS", "_gt", "_GT", "_groundtruth", "_label", "-label", "_lbl", "_L",
    "_labelIds", "_labelTrainIds", "_seg", "_segmentation", "_annotation",
)  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings_of_masks_beside_their_images(tmp_path, ending):
    for number in range(3):
        save(tmp_path / f"{number}.JPG", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / f"{number}{ending}.png", np.full((4, 6), number, np.uint8))
    write_classes(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert dataset.ids == ("0", "1", "2")
    assert [int(dataset[number].label_map[0, 0]) for number in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("image", "mask"),
    [("img_{}", "mask_{}"), ("{}", "gt-{}"), ("{}_rgb", "{}_id")],
)
def test_beginnings_and_endings_that_all_have_in_common(tmp_path, image, mask):
    for number in range(3):
        save(tmp_path / "images" / f"{image.format(number)}.jpg", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / "masks" / f"{mask.format(number)}.png", np.full((4, 6), number, np.uint8))
    write_classes(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert [int(dataset[number].label_map[0, 0]) for number in range(3)] == [0, 1, 2]


def test_pictures_of_one_stem_in_one_folder_are_told_how_to_lie(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.jpg", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / f"{number}.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(DataError, match=r"0\.jpg, 0\.png, 1\.jpg .*have one stem.*masks/"):
        list_splits(f"folder:{tmp_path}")


def test_the_data_set_in_a_folder_below(flat, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    flat.rename(above / "set")
    with pytest.raises(DataError, match=r"There is .*set/classes\.json: is folder:.*set meant\?"):
        open_dataset(f"folder:{above}", "set")
