"""Every finding, each planted alone in a sound data set: it is named with its file, and nothing else is."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.checks.trees import (
    SIZE,
    bands,
    picture,
    save_image,
    save_mask,
    write_classes,
    write_tree,
)
from vitseg.checks.fast import fast_findings
from vitseg.checks.report import CheckReport
from vitseg.checks.run import check_dataset
from vitseg.data.catalog import open_dataset
from vitseg.data.finding import Finding
from vitseg.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "data")


def check(root, kind: str = "index", **options) -> CheckReport:
    return check_dataset(f"{kind}:{root}", num_workers=0, **options)


def faults(report: CheckReport) -> dict[str, Finding]:
    return {f.code: f for f in report.findings if f.severity != "info"}


def only(root, code: str, severity: str, kind: str = "index", **options) -> Finding:
    """The finding, which has to be the only one that is an error or a warning."""
    found = faults(check(root, kind, **options))
    assert list(found) == [code], [finding.message for finding in found.values()]
    assert found[code].severity == severity
    return found[code]


def test_a_sound_data_set_has_facts_only(root):
    report = check(root, "folder")
    assert faults(report) == {}
    assert {f.code for f in report.findings} == {"image-sizes", "class-frequency"}
    assert report.num_errors == report.num_warnings == 0
    assert report.crop_size == (32, 32)
    train, val = report.splits
    assert (train.name, train.num_images, train.num_masks) == ("train", 4, 4)
    assert train.pixels.sum() == 4 * SIZE[0] * SIZE[1]
    assert val.images.tolist() == val.objects.tolist() == [2, 2, 2]
    assert (train.smallest, train.median, train.largest) == (SIZE, SIZE, SIZE)


def test_workers_find_the_same(root):
    for number in range(20):
        save_image(root, f"train/more{number}", picture(100 + number))
        save_mask(root, f"train/more{number}", bands(number))
    save_mask(root, "train/more7", bands(0) + 7)
    alone = check_dataset(f"index:{root}", num_workers=0).to_json()
    assert check_dataset(f"index:{root}", num_workers=2).to_json() == alone
    assert alone["errors"] == 1


def test_one_split_of_several(root):
    save_mask(root, "val/v0", bands(0) + 7)
    assert faults(check(root, splits=["train"])) == {}
    assert faults(check(root, splits=["val"])).keys() == {"id-outside-table"}
    with pytest.raises(DataError, match="'dev' is not a split"):
        check(root, splits=["dev"])


# ids


def test_id_outside_table(root):
    mask = bands(1)
    mask[:5, :2] = 9
    path = save_mask(root, "train/t1", mask)
    finding = only(root, "id-outside-table", "error")
    assert finding.files == (str(path),)
    assert "0-2, 255: 9. " in finding.message
    assert f"{path}: 9 (10 pixels)" in finding.message


def test_color_outside_table(root):
    write_classes(root, palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    for path in (root / "masks").rglob("*.png"):
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(path)
    assert faults(check(root, "color")) == {}
    mask = colors[bands(0)]
    mask[:4, :4] = (1, 2, 3)
    path = save_mask(root, "val/v0", mask)
    finding = only(root, "id-outside-table", "error", "color")
    assert finding.files == (str(path),)
    assert "#010203 (16 pixels)" in finding.message


def test_looks_unreduced(root):
    for path in (root / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(path)) + 1
        mask[:3, :3] = 0  # "other"
        Image.fromarray(mask).save(path)
    finding = only(root, "looks-unreduced", "error")
    assert "ids 0-3, but the table ends at 2" in finding.message
    assert '"ignore_index": 0' in finding.fix


def test_the_fix_for_unreduced_masks_works(root):
    for path in (root / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(path)) + 1
        mask[:3, :3] = 0
        Image.fromarray(mask).save(path)
    write_classes(root, classes={"1": "sky", "2": "road", "3": "tree"}, ignore_index=0)
    assert faults(check(root)) == {}


def test_a_published_data_set_that_is_reduced_already(tmp_path):
    """ADE20K after "value - 1", as some converters write it."""
    for number in range(3):
        ids = bands(number) + 10
        ids[:3, :3] = 0
        image = tmp_path / "images" / "training" / f"ADE_train_{number:08}.jpg"
        mask = tmp_path / "annotations" / "training" / f"ADE_train_{number:08}.png"
        for path, array in ((image, np.asarray(picture(number))), (mask, ids)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    assert faults(check(tmp_path, "ade20k")).keys() == {"class-never-occurs"}
    masks = sorted((tmp_path / "annotations").rglob("*.png"))
    for path in masks:
        Image.fromarray(np.asarray(Image.open(path)) - 1).save(path)
    found = faults(check(tmp_path, "ade20k"))
    assert found.keys() == {"looks-already-reduced", "class-never-occurs"}
    assert found["looks-already-reduced"].files == tuple(map(str, masks))


@pytest.mark.parametrize("void", [254, 255])
def test_looks_already_reduced(root, void):
    """Masks less 1, under a table of the published ids."""
    write_classes(root, classes={"1": "sky", "2": "road", "3": "tree"}, ignore_index=0)
    for path in (root / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(path)).copy()
        mask[:3, -3:] = 255
        mask[:3, -1:] = void
        Image.fromarray(mask).save(path)
    found = faults(check(root))
    assert found.pop("class-never-occurs").files == ("tree",)
    (finding,) = found.values()
    assert finding.code == "looks-already-reduced"
    assert finding.severity == ("error" if void == 254 else "warning")  # 255 is ignored by custom
    assert "the classes 1-3, but the masks have 255 and never 3" in finding.message


def test_looks_doubly_reduced(root):
    mask = bands(1)
    mask[:3, :3], mask[:3, 3:6] = 254, 255
    save_mask(root, "train/t1", mask)
    finding = only(root, "looks-doubly-reduced", "error")
    assert "254, which is 255 less 1" in finding.message


def test_foreground_ignored(root):
    write_classes(root, classes=["background", "object"])
    for path in (root / "masks").rglob("*.png"):
        mask = (np.asarray(Image.open(path)) > 0).astype(np.uint8) * 255
        Image.fromarray(mask).save(path)
    found = faults(check(root))
    assert found.pop("class-never-occurs").files == ("object",)
    assert found.keys() == {"foreground-ignored"}
    write_classes(root, classes={"0": "background", "255": "object"})
    assert faults(check(root)) == {}, "the fix"


def test_ignore_value_is_class(root):
    write_classes(root, classes={"0": "sky", "1": "road", "2": "tree", "255": "border"})
    for path in (root / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(path)).copy()
        mask[:5, :5] = 255
        Image.fromarray(mask).save(path)
    finding = only(root, "ignore-value-is-class", "warning")
    assert finding.count == 6
    assert "'border'" in finding.message
    assert faults(check(root, ignore=["border"])) == {}, "the fix"


def test_255_may_be_one_class_of_many(root):
    write_classes(root, classes=[f"c{number}" for number in range(300)])
    save_mask(root, "train/t0", np.full(SIZE, 255, np.uint16))
    assert "ignore-value-is-class" not in faults(check(root))


@pytest.mark.parametrize("name", ["void", "Unlabeled", "unlabelled", "ignore", "don't care"])
def test_void_class(root, name):
    write_classes(root, classes=["sky", "road", name])
    finding = only(root, "void-class", "warning")
    assert finding.files == (name,)
    assert faults(check(root, ignore=[name])) == {}, "the fix"


@pytest.mark.parametrize("name", ["avoidable", "background", "voidance", "unknowns of maths"])
def test_names_that_only_look_alike(root, name):
    write_classes(root, classes=["sky", "road", name])
    assert faults(check(root)) == {}


def test_ignored_class(root):
    write_classes(root, ignore_index=1)
    finding = only(root, "ignored-class", "warning")
    assert finding.files == ("road",)
    write_classes(root, ignore_index=1, classes=["sky", "void", "tree"])
    assert faults(check(root)) == {}


def test_all_ignored(root):
    path = save_mask(root, "train/t3", np.full(SIZE, 255, np.uint8))
    assert only(root, "all-ignored", "warning").files == (str(path),)


# files


def test_rgb_mask_of_ids(root):
    path = save_mask(root, "val/v1", np.repeat(bands(1)[:, :, None], 3, 2))
    finding = only(root, "rgb-mask-grey", "error")
    assert finding.files == (str(path),)
    Image.open(path).getchannel(0).save(path)
    assert faults(check(root)) == {}, "the fix"


def test_rgb_mask_of_colors(root):
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    path = save_mask(root, "val/v1", colors[bands(1)])
    finding = only(root, "rgb-mask-colors", "error")
    assert finding.files == (str(path),)
    assert "color:FOLDER" in finding.fix


def test_lossy_mask(root):
    (root / "masks" / "train" / "t2.png").unlink()
    path = save_mask(root, "train/t2", bands(2), ".jpg")
    finding = only(root, "lossy-mask", "error")
    assert finding.files == (str(path),)
    assert "1 mask is a JPEG file" in finding.message


def test_lossy_mask_under_another_suffix(root):
    path = root / "masks" / "train" / "t2.png"
    Image.fromarray(bands(2)).save(path, format="JPEG")
    assert only(root, "lossy-mask", "error").files == (str(path),)


def smeared(values: np.ndarray) -> np.ndarray:
    small = Image.fromarray(values).resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.NEAREST)
    return np.asarray(small.resize(SIZE[::-1], Image.Resampling.BILINEAR))


def test_smeared_mask(root):
    """Enlarged with blending; the table has every id that this makes."""
    write_classes(root, classes=[f"c{number}" for number in range(41)])
    ids = np.random.default_rng(0).permutation(np.arange(48) % 41).astype(np.uint8)
    blocks = np.kron(ids.reshape(6, 8), np.ones((8, 8), np.uint8))
    for key in ("train/t0", "train/t1", "train/t2", "train/t3", "val/v0", "val/v1"):
        save_mask(root, key, blocks)
    assert faults(check(root)) == {}
    path = save_mask(root, "train/t1", smeared(blocks))
    finding = only(root, "smeared-mask", "error")
    assert finding.files == (str(path),)
    assert "nearest neighbour" in finding.fix


def test_a_thin_border_class_is_a_warning(root):
    mask = np.zeros(SIZE, np.uint8)
    mask[10:40, 10:50], mask[11:39, 11:49] = 1, 2
    path = save_mask(root, "train/t1", mask)
    finding = only(root, "smeared-mask", "warning")
    assert finding.files == (str(path),)
    assert "one pixel wide" in finding.fix


def test_size_mismatch(root):
    path = save_mask(root, "train/t0", bands(0, (64, 48)))
    finding = only(root, "size-mismatch", "error")
    assert finding.files == (str(path),)
    assert f"{path} is 48x64 pixels, but its image 64x48" in finding.message


def test_unreadable_image(root):
    path = root / "images" / "val" / "v0.png"
    path.write_bytes(path.read_bytes()[:-200])
    finding = only(root, "unreadable-image", "error")
    assert finding.files == (str(path),)
    assert "damaged or incomplete" in finding.message


def test_unreadable_mask(root):
    path = root / "masks" / "val" / "v0.png"
    path.write_bytes(b"nothing")
    finding = only(root, "unreadable-mask", "error")
    assert finding.files == (str(path),)


def test_a_jpeg_cut_short_is_found_though_it_is_decoded_small(root):
    (root / "images" / "val" / "v0.png").unlink()
    path = save_image(root, "val/v0", picture(4, (480, 640)), ".jpg")
    save_mask(root, "val/v0", bands(0, (480, 640)))
    assert faults(check(root)) == {}
    path.write_bytes(path.read_bytes()[:-2000])
    assert only(root, "unreadable-image", "error").files == (str(path),)


def test_image_without_mask(root):
    (root / "masks" / "train" / "t0.png").unlink()
    assert only(root, "image-without-mask", "error").files == ("t0",)


def test_no_image_has_a_mask(root):
    shutil.rmtree(root / "masks" / "train")
    (root / "masks" / "train").mkdir()
    finding = only(root, "image-without-mask", "error")
    assert finding.count == 4


def test_mask_without_image(root):
    (root / "images" / "train" / "t0.png").unlink()
    finding = only(root, "mask-without-image", "warning")
    assert finding.files == (str(root / "masks" / "train" / "t0.png"),)


# duplicates


def copy(root, source: str, target: str) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / kind / f"{source}.png", root / kind / f"{target}.png")


def test_duplicate(root):
    copy(root, "train/t0", "train/z")
    finding = only(root, "duplicate", "warning")
    images = root / "images" / "train"
    assert finding.files == (f"{images / 't0.png'} = {images / 'z.png'}",)
    assert "1 image comes more than once" in finding.message
    assert "masks differ" not in finding.message


def test_duplicate_with_another_mask(root):
    copy(root, "train/t0", "train/z")
    save_mask(root, "train/z", bands(3))
    assert "In 1 of these groups the masks differ." in only(root, "duplicate", "warning").message


def test_duplicate_across_splits(root):
    copy(root, "train/t0", "val/z")
    finding = only(root, "duplicate-across-splits", "error")
    images = root / "images"
    assert finding.files == (f"{images / 'train' / 't0.png'} = {images / 'val' / 'z.png'}",)


def altered(root) -> Image.Image:
    return ImageEnhance.Brightness(Image.open(root / "images" / "train" / "t0.png")).enhance(0.9)


def test_near_duplicate(root):
    save_image(root, "train/z", altered(root), ".jpg")
    save_mask(root, "train/z", bands(0))
    finding = only(root, "near-duplicate", "warning")
    images = root / "images" / "train"
    assert finding.files == (f"{images / 't0.png'} = {images / 'z.jpg'}",)


def test_near_duplicate_across_splits(root):
    save_image(root, "val/z", altered(root).resize((128, 96)), ".jpg")
    save_mask(root, "val/z", bands(0, (96, 128)))
    finding = only(root, "near-duplicate-across-splits", "warning")
    images = root / "images"
    assert finding.files == (f"{images / 'train' / 't0.png'} = {images / 'val' / 'z.jpg'}",)


def test_flat_images_are_not_alike(root):
    for number, level in enumerate((3, 90, 200)):
        save_image(root, f"train/t{number}", Image.new("RGB", SIZE[::-1], (level,) * 3))
    assert faults(check(root)) == {}


def test_a_split_made_of_others_leaks_nothing(root):
    for split, keys in {
        "train": ["t0", "t1"],
        "val": ["v0"],
        "trainval": ["t0", "t1", "v0"],
    }.items():
        (root / f"{split}.txt").write_text("\n".join(keys))
    for kind in ("images", "masks"):
        for split in ("train", "val"):
            for path in (root / kind / split).iterdir():
                path.rename(root / kind / path.name)
            (root / kind / split).rmdir()
    report = check(root)
    assert faults(report) == {}
    assert [split.name for split in report.splits] == ["train", "trainval", "val"]
    assert report.coverage == (6, 3, 3)
    (finding,) = [f for f in report.findings if f.code == "split-of-splits"]
    assert "trainval holds all images of train, val" in finding.message
    assert [s.name for s in check(root, splits=["trainval"]).splits] == ["trainval"]


def test_a_validation_split_inside_training_leaks(root):
    for kind in ("images", "masks"):
        for path in (root / kind / "train").iterdir():
            path.rename(root / kind / path.name)
        shutil.rmtree(root / kind / "train")
        shutil.rmtree(root / kind / "val")
    (root / "train.txt").write_text("t0\nt1\nt2\nt3")
    (root / "val.txt").write_text("t3")
    finding = only(root, "duplicate-across-splits", "error")
    assert finding.count == 1
    assert "t3.png" in finding.files[0]


# classes


def test_class_never_occurs(root):
    write_classes(root, classes=["sky", "road", "tree", "horse"])
    finding = only(root, "class-never-occurs", "warning")
    assert finding.files == ("horse",)
    assert "1 of 4 classes never occurs in the masks of train or val: horse." in finding.message


def test_class_in_one_split(root):
    write_classes(root, classes=["sky", "road", "tree", "horse", "cow"])
    for key, label in (("train/t0", 3), ("val/v1", 4)):
        mask = bands(0)
        mask[:9, :9] = label
        save_mask(root, key, mask)
    finding = only(root, "class-in-one-split", "warning")
    assert finding.files == ("horse", "cow")
    assert "in train only: horse; in val only: cow." in finding.message


def test_merged_classes_count_as_one(root):
    write_classes(root, classes=["sky", "road", "tree", "horse"])
    assert faults(check(root, merge={"plant": ["tree", "horse"]})) == {}


# facts


def test_tiny_objects(root):
    mask = bands(0, (100, 200))
    mask[::4, ::4] = 2
    save_mask(root, "train/t0", mask)
    save_image(root, "train/t0", picture(0, (100, 200)))
    report = check(root)
    assert faults(report) == {}
    (finding,) = [f for f in report.findings if f.code == "tiny-objects"]
    assert finding.files == ("tree",)
    expected = re.search(r"^([\d,]+) of ([\d,]+) connected regions", finding.message)
    assert expected is not None
    train = report.splits[0]
    assert int(expected[1].replace(",", "")) == train.tiny[2] > 500


def test_sizes_and_crop(root):
    for number, size in enumerate([(300, 400), (310, 500), (320, 800), (600, 330)]):
        save_image(root, f"train/t{number}", picture(number, size))
        save_mask(root, f"train/t{number}", bands(number, size))
    report = check(root, splits=["train"])
    assert report.crop_size == (288, 288)
    (finding,) = [f for f in report.findings if f.code == "image-sizes"]
    assert "330 to 800 pixels wide" in finding.message
    assert "[288, 288]" in finding.fix


# no class file


@pytest.mark.parametrize("kind", ["index", "folder"])
def test_no_class_file(root, kind):
    (root / "classes.json").unlink()
    mask = bands(0)
    mask[0] = 255
    save_mask(root, "train/t0", mask)
    finding = only(root, "no-class-file", "error", kind)
    assert finding.files == (str(root / "classes.json"),)
    content = json.loads(finding.fix[finding.fix.index("{") :])
    assert content["classes"].keys() == {"0", "1", "2"}
    assert content["ignore_index"] == 255
    (root / "classes.json").write_text(json.dumps(content))
    assert faults(check(root, kind)) == {}, "what it says to paste works"


def test_no_class_file_for_colors(root):
    (root / "classes.json").unlink()
    colors = np.array([[10, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    for path in (root / "masks").rglob("*.png"):
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(path)
    finding = only(root, "no-class-file", "error", "color")
    content = json.loads(finding.fix[finding.fix.index("{") :])
    assert sorted(content["palette"]) == sorted(colors.tolist())
    (root / "classes.json").write_text(json.dumps(content))
    assert faults(check(root, "color")) == {}


def test_other_faults_are_found_without_class_file(root):
    (root / "classes.json").unlink()
    save_mask(root, "train/t0", bands(0, (20, 20)))
    assert faults(check(root)).keys() == {"no-class-file", "size-mismatch"}


def test_images_that_are_no_files(root, tmp_path):
    datasets = pytest.importorskip("datasets")
    images, masks = (sorted((root / kind / "train").iterdir()) for kind in ("images", "masks"))
    columns = {"image": [str(path) for path in images], "label": [str(path) for path in masks]}
    table = datasets.Dataset.from_dict(columns)
    for column in columns:
        table = table.cast_column(column, datasets.Image())
    table.save_to_disk(tmp_path / "saved")
    shutil.copy(root / "classes.json", tmp_path / "saved" / "classes.json")
    report = check(tmp_path / "saved", "huggingface")
    assert faults(report) == {}
    assert report.splits[0].num_masks == 4


def test_a_folder_that_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        check(tmp_path)


def test_worst_come_first(root):
    write_classes(root, classes=["sky", "void", "tree"])
    save_mask(root, "train/t0", bands(0) + 7)
    (root / "images" / "val" / "v0.png").write_bytes(b"")
    (root / "images" / "val" / "v1.png").write_bytes(b"")
    report = check(root)
    assert [f.code for f in report.findings[:3]] == [
        "unreadable-image",
        "id-outside-table",
        "void-class",
    ]
    assert {f.severity for f in report.findings[3:]} == {"info"}


@pytest.mark.parametrize(
    ("names", "joint"),
    [
        (("Car", "car", "car "), "Car"),
        (("\u00e9tage", "e\u0301tage"), "\u00e9tage"),
        ((" tree", "Tree"), "Tree"),
    ],
)
def test_names_typed_differently_are_told_with_what_merges_them(tmp_path, names, joint):
    for number, name in enumerate(names):
        save_image(tmp_path, str(number), picture(number))
        shape = {"label": name, "shape_type": "rectangle", "points": [[2, 2], [20, 20]]}
        content = {"imagePath": f"{number}.png", "shapes": [shape, {**shape, "label": "sky"}]}
        content["shapes"][1]["points"] = [[25, 25], [30, 30]]
        (tmp_path / "images" / f"{number}.json").write_text(json.dumps(content))
    finding = faults(check(tmp_path, "labelme"))["alike-class-names"]
    assert (finding.severity, set(finding.files)) == ("warning", set(names))
    assert finding in fast_findings(open_dataset(f"labelme:{tmp_path}", "all"))
    (proposed,) = re.findall(r"\{.*\}", finding.fix)
    (tmp_path / "classes.json").write_text(proposed)
    assert open_dataset(f"labelme:{tmp_path}", "all").classes.names == ("background", joint, "sky")
    assert "alike-class-names" not in faults(check(tmp_path, "labelme"))
