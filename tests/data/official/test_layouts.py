"""Every data set opens from its official layout, and its raw ids are the classes that they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.official.trees import TREES, write_image, write_list, write_mask, write_tree
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked
from vitseg.errors import DataError


@pytest.mark.parametrize("case", TREES)
@pytest.mark.parametrize("named", ["the folder itself", "the one above"])
def test_ids_are_the_classes_of_the_table_by_hand(case, named, tmp_path):
    tree = TREES[case]
    home = tmp_path / tree.inner
    write_tree(home, tree)
    spec = f"{case.split()[0]}:{home if named == 'the folder itself' else tmp_path}"
    assert list_splits(spec) == (tree.split,)
    dataset = open_dataset(spec, tree.alias)
    assert (dataset.name, dataset.split, len(dataset)) == (case.split()[0], tree.split, 1)
    assert dataset.findings == ()
    assert (
        str((home / tree.mask).parent).removesuffix("/ulm").removesuffix("/aachen")
        in dataset.source
    )
    (row,) = dataset[0].label_map.tolist()
    names = [dataset.classes.names[index] for index in row[: len(tree.ten)]]
    assert dict(zip(tree.ten, names, strict=True)) == tree.ten
    assert row[len(tree.ten) :] == [IGNORE_INDEX] * len(tree.ignored)


def test_ids_of_cityscapes_keep_their_city(tmp_path):
    write_tree(tmp_path, TREES["cityscapes"])
    assert open_dataset(f"cityscapes:{tmp_path}", "val").ids == ("ulm/ulm_000000_000019",)


def write_city(root: Path, key: str, kinds: dict[str, list[int]]) -> None:
    write_image(root / "leftImg8bit/train/aachen" / f"{key}_leftImg8bit.png")
    for kind, ids in kinds.items():
        write_mask(root / "gtFine/train/aachen" / f"{key}_gtFine_{kind}.png", ids)


def test_cityscapes_prefers_train_ids(tmp_path):
    write_city(tmp_path, "a", {"labelTrainIds": [13], "labelIds": [26], "instanceIds": [1]})
    dataset = open_dataset(f"cityscapes:{tmp_path}", "train")
    assert dataset.source.startswith("labelTrainIds masks in")
    assert dataset.label_map(0).tolist() == [[13]]


def test_cityscapes_takes_the_kind_that_all_images_have(tmp_path):
    write_city(tmp_path, "a", {"labelTrainIds": [13], "labelIds": [26]})
    write_city(tmp_path, "b", {"labelIds": [7]})
    dataset = open_dataset(f"cityscapes:{tmp_path}", "train")
    assert dataset.source.startswith("labelIds masks in")
    assert [dataset.label_map(index).item() for index in (0, 1)] == [13, 0]


def test_cityscapes_never_mixes_the_kinds(tmp_path):
    write_city(tmp_path, "a", {"labelTrainIds": [13]})
    write_city(tmp_path, "b", {"labelIds": [7]})
    dataset = open_unchecked(f"cityscapes:{tmp_path}", "train")
    assert (dataset.ids, dataset.label_map(0).tolist()) == (("aachen/a",), [[13]])
    (finding,) = dataset.findings
    assert (finding.code, finding.files) == ("image-without-mask", ("aachen/b",))
    with pytest.raises(DataError, match=r"1 of 2 ids have no mask file"):
        open_dataset(f"cityscapes:{tmp_path}", "train")


def test_cityscapes_test_has_no_labels(tmp_path):
    write_image(tmp_path / "leftImg8bit/test/berlin/x_leftImg8bit.png", 4)
    write_mask(tmp_path / "gtFine/test/berlin/x_gtFine_labelIds.png", [0, 1, 2, 3])
    dataset = open_dataset(f"cityscapes:{tmp_path}", "test")
    assert dataset[0].label_map.tolist() == [[IGNORE_INDEX] * 4]


def test_cityscapes_with_polygons_only_says_how_to_convert(tmp_path):
    write_city(tmp_path, "a", {})
    (tmp_path / "gtFine/train/aachen").mkdir(parents=True)
    (tmp_path / "gtFine/train/aachen/a_gtFine_polygons.json").write_text("{}")
    with pytest.raises(DataError, match=r"vitseg data prepare cityscapes --source DIR --out DIR"):
        open_unchecked(f"cityscapes:{tmp_path}", "train")


def test_voc_splits_are_its_lists(tmp_path):
    for key, ids in (("a", [1]), ("b", [2]), ("c", [3])):
        write_image(tmp_path / "JPEGImages" / f"{key}.jpg")
        write_mask(tmp_path / "SegmentationClass" / f"{key}.png", ids)
    write_image(tmp_path / "JPEGImages" / "detection_only.jpg")
    lists = tmp_path / "ImageSets/Segmentation"
    write_list(lists / "train.txt", ["b", "a"])
    write_list(lists / "val.txt", ["c"])
    write_list(lists / "trainaug.txt", ["a"])
    spec = f"voc2012:{tmp_path}"
    assert list_splits(spec) == ("train", "val")  # without SegmentationClassAug no trainaug
    assert open_dataset(spec, "train").ids == ("b", "a")
    write_mask(tmp_path / "SegmentationClassAug" / "a.png", [20])
    assert list_splits(spec) == ("train", "val", "trainaug")
    assert open_dataset(spec, "trainaug").label_map(0).tolist() == [[20]]
    assert open_dataset(spec, "train").label_map(1).tolist() == [[1]]


def test_both_pascal_contexts_read_the_same_masks(tmp_path):
    write_tree(tmp_path, TREES["pascal_context_60"])
    with_background = open_dataset(f"pascal_context_60:{tmp_path}", "val").label_map(0)
    without = open_dataset(f"pascal_context_59:{tmp_path}", "val").label_map(0)
    assert (without == with_background - 1).all()  # the background becomes IGNORE_INDEX


def test_coco_stuff_10k_without_lists_takes_what_is_there(tmp_path):
    tree = TREES["coco_stuff_10k"]
    write_tree(tmp_path, tree)
    (tmp_path / tree.listed).unlink()
    dataset = open_dataset(f"coco_stuff_10k:{tmp_path}", "test")
    assert dataset.ids == ("COCO_train2014_000000000077",)


def test_coco_stuff_10k_takes_what_the_list_names(tmp_path):
    tree = TREES["coco_stuff_10k"]
    write_tree(tmp_path, tree)
    write_image(tmp_path / "images/test2014/other.jpg")
    assert len(open_dataset(f"coco_stuff_10k:{tmp_path}", "test")) == 1
    write_list(tmp_path / tree.listed, ["missing"])
    with pytest.raises(DataError, match=r"1 of 1 ids have no image file .*: missing\."):
        open_dataset(f"coco_stuff_10k:{tmp_path}", "test")


def test_coco_stuff_164k_in_a_folder_stuffthingmaps(tmp_path):
    write_tree(tmp_path, TREES["coco_stuff_164k"])
    (tmp_path / "annotations").rename(tmp_path / "stuffthingmaps")
    (tmp_path / "annotations").mkdir()  # of COCO's own json files
    assert len(open_dataset(f"coco_stuff_164k:{tmp_path}", "val2017")) == 1


def test_an_image_without_mask_is_a_finding(tmp_path):
    write_tree(tmp_path, TREES["ade20k"])
    write_image(tmp_path / "images/training/b.jpg")
    spec = f"ade20k:{tmp_path}"
    (finding,) = open_unchecked(spec, "train").findings
    assert (finding.code, finding.files) == ("image-without-mask", ("b",))
    with pytest.raises(DataError, match=r"1 of 2 ids have no mask file"):
        open_dataset(spec, "train")


@pytest.mark.parametrize(
    ("case", "wrong", "said"),
    [
        ("ade20k", 255, r"ade20k allows 1-150 and 0 \(ignore\)\. .* reduced already"),
        ("ade20k", 151, r"151 \(1 pixels\)"),
        ("cityscapes", 33, r"allows 0-18 and 255 \(ignore\)\. .* label ids \(0-33\)"),
        ("cityscapes with label ids", 255, r"Are these train ids"),
        ("pascal_context_59", 60, r"allows 1-59 and 0 \(ignore\)\. .* 459"),
        ("pascal_context_60", 255, r"allows 0-59\. "),
        ("coco_stuff_10k", 182, r"allows 1-171 and 0 \(ignore\)\. .* prepare coco_stuff_10k"),
        ("coco_stuff_164k", 11, r"allows 0-10, 12-24, 26-27, 30-43, .*91-181 and 255 \(ignore\)"),
        ("camvid", 12, r"allows 0-10 and 11 \(ignore\)\. .* 32 classes"),
        ("voc2012", 21, r"allows 0-20 and 255 \(ignore\)\. "),
    ],
)
def test_an_id_outside_the_table_is_refused_with_a_hint(case, wrong, said, tmp_path):
    tree = TREES[case]
    write_tree(tmp_path, tree)
    write_image(tmp_path / tree.image)
    write_mask(tmp_path / tree.mask, [wrong])
    dataset = open_dataset(f"{case.split()[0]}:{tmp_path}", tree.split)
    with pytest.raises(DataError, match=rf"ids outside the class table: .*{said}"):
        dataset.label_map(0)


@pytest.mark.parametrize("case", TREES)
def test_an_unknown_split_lists_those_that_are_there(case, tmp_path):
    tree = TREES[case]
    write_tree(tmp_path, tree)
    with pytest.raises(DataError, match=rf"'dev' is not a split of .*\. Valid: {tree.split}\.$"):
        open_dataset(f"{case.split()[0]}:{tmp_path}", "dev")


CONTEXT_FOLDERS = ["JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext"]


@pytest.mark.parametrize(
    ("name", "folders", "said"),
    [
        (
            "ade20k",
            ["images/training"],
            r"expected are the folders images/, annotations/, but annotations/ is missing\. There: "
            r"images/\. They may also lie in ADEChallengeData2016/ below it",
        ),
        (
            "ade20k",
            ["images/train", "annotations/train"],
            r"expected training/ or validation/, both in .*images and in .*annotations\.",
        ),
        ("cityscapes", ["gtFine/train"], r"leftImg8bit/ is missing\. There: gtFine/"),
        (
            "cityscapes",
            ["leftImg8bit/train", "gtFine/val"],
            r"expected train/, val/ or test/, both",
        ),
        ("cityscapes", [], r"leftImg8bit/, gtFine/ are missing\. There: no folder"),
        (
            "voc2012",
            ["VOCdevkit/VOC2012/JPEGImages"],
            r"VOCdevkit.VOC2012 is not in the layout of voc2012: .* SegmentationClass/, "
            r"ImageSets/Segmentation/ are missing\. There: JPEGImages/",
        ),
        (
            "voc2012",
            ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"],
            r"expected train\.txt, val\.txt or trainval\.txt",
        ),
        (
            "pascal_context_60",
            ["Annotations"],
            r"JPEGImages/, SegmentationClassContext/, .* are missing\. There: Annotations/\. They may",
        ),
        (
            "pascal_context_59",
            ["VOC2010/JPEGImages"],
            r"SegmentationClassContext/, ImageSets/SegmentationContext/ are missing\. "
            r".* vitseg data prepare pascal_context --source DIR --out DIR",
        ),
        ("pascal_context_59", CONTEXT_FOLDERS, r"expected train\.txt or val\.txt"),
        (
            "coco_stuff_10k",
            ["images/train2014"],
            r"annotations/ is missing\. .* vitseg data prepare coco_stuff_10k --source DIR --out DIR",
        ),
        (
            "coco_stuff_10k",
            ["images", "annotations"],
            r"expected train2014/ or test2014/, both in .*annotations\.$",
        ),
        (
            "coco_stuff_164k",
            ["train2017"],
            r"images/, annotations/ are missing\. There: train2017/",
        ),
        (
            "coco_stuff_164k",
            ["images", "annotations"],
            r"expected train2017/ or val2017/, both in",
        ),
        ("camvid", ["train"], r"train/ and trainannot/"),
    ],
)
def test_a_wrong_layout_says_what_is_expected_and_what_is_there(name, folders, said, tmp_path):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=said):
        open_unchecked(f"{name}:{tmp_path}", "train")
    with pytest.raises(DataError, match=said):
        list_splits(f"{name}:{tmp_path}")


@pytest.mark.parametrize("name", sorted({case.split()[0] for case in TREES}))
def test_a_folder_that_is_not_there(name, tmp_path):
    with pytest.raises(DataError, match=r"none is not a folder"):
        open_unchecked(f"{name}:{tmp_path / 'none'}", "train")


@pytest.mark.parametrize("folder", ["annotations", "annotations/train2014"])
def test_coco_stuff_10k_with_mat_files_says_how_to_convert(folder, tmp_path):
    write_image(tmp_path / "images/train2014/a.jpg")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "a.mat").touch()
    with pytest.raises(
        DataError, match=r"vitseg data prepare coco_stuff_10k --source DIR --out DIR"
    ):
        open_unchecked(f"coco_stuff_10k:{tmp_path}", "train")
