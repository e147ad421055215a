from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.content import NAMES, photo, save
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked
from vitseg.errors import DataError

SQUARE = "0.125 0.25 0.5 0.25 0.5 0.75 0.125 0.75"  # of 64 x 48 pixels: 8..32, 12..36


def label(root: Path, key: str, text: str) -> Path:
    path = root / f"{key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def image(root: Path, key: str) -> Path:
    save(root / f"{key}.png", photo("train", 0))
    return root / f"{key}.png"


@pytest.fixture
def root(tmp_path):
    """Two training images with a car each."""
    (tmp_path / "data.yaml").write_text("train: images/train\nnames:\n  0: car\n  1: tree\n")
    for key in "ab":
        image(tmp_path, f"images/train/{key}")
        label(tmp_path, f"labels/train/{key}", f"0 {SQUARE}\n")
    return tmp_path


def codes(dataset) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {finding.code: (finding.severity, finding.files) for finding in dataset.findings}


def test_pixels_and_classes(root):
    dataset = open_dataset(f"yolo:{root}", "train")
    assert dataset.ids == ("a", "b")
    assert dataset.classes.names == NAMES
    assert dataset.label_mapping == {2: 0, 0: 1, 1: 2}
    expected = np.zeros((48, 64))
    expected[12:36, 8:32] = 1
    np.testing.assert_array_equal(dataset[0].label_map, expected)
    assert dataset.mask_files(1) == (root / "labels" / "train" / "b.txt",)


def test_the_smaller_polygon_stays_visible(root):
    small = "1 0.25 0.25 0.375 0.25 0.375 0.5 0.25 0.5"
    label(root, "labels/train/a", f"{small}\n0 {SQUARE}\n")
    label(root, "labels/train/b", f"0 {SQUARE}\n{small}\n")
    dataset = open_dataset(f"yolo:{root}", "train")
    np.testing.assert_array_equal(dataset[0].label_map, dataset[1].label_map)
    assert (dataset[0].label_map == 2).sum() == 8 * 12


DESCRIPTIONS = {
    "relative to the file": "train: images/train\nnames: [car, tree]",
    "relative to path": "path: images\ntrain: train\nnames: [car, tree]",
    "path of another machine": "path: ../datasets/mine\ntrain: images/train\nnames: [car, tree]",
    "roboflow": "train: ../images/train\nnames: [car, tree]",
    "several folders": "train: [images/train]\nnames: [car, tree]",
    "list of files": "train: list.txt\nnames: [car, tree]",
    "names by text numbers": "train: images/train\nnames: {'0': car, '1': tree}",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions(root, name):
    (root / "data.yaml").unlink()
    (root / "dataset.yaml").write_text(DESCRIPTIONS[name])
    (root / "list.txt").write_text("./images/train/a.png\nimages/train/b.png\n")
    dataset = open_dataset(f"yolo:{root}", "train")
    assert [id.rpartition("/")[2] for id in dataset.ids] == ["a", "b"]
    assert dataset.classes.names == NAMES
    assert dataset[0].label_map[20, 20] == 1


@pytest.mark.parametrize("layout", ["{kind}/{split}", "{split}/{kind}"])
def test_without_description_the_class_file_names_the_classes(tmp_path, layout):
    (tmp_path / "classes.txt").write_text("car\ntree\n")
    for split in ("train", "val"):
        image(tmp_path, layout.format(kind="images", split=split) + "/a")
        label(tmp_path, layout.format(kind="labels", split=split) + "/a", f"1 {SQUARE}")
    assert list_splits(f"yolo:{tmp_path}") == ("train", "val")
    dataset = open_dataset(f"yolo:{tmp_path}", "val")
    assert dataset.findings == ()
    assert dataset.classes.names == NAMES
    assert dataset[0].label_map[20, 20] == 2


def test_without_splits(tmp_path):
    image(tmp_path, "images/a")
    label(tmp_path, "labels/a", f"1 {SQUARE}")
    label(tmp_path, "labels/classes", "car\ntree\n")
    dataset = open_dataset(f"yolo:{tmp_path}", "all")
    assert dataset.findings == ()
    assert dataset[0].label_map[20, 20] == 2


def test_a_class_file_merges_ignores_and_colours(tmp_path):
    image(tmp_path, "images/a")
    label(tmp_path, "labels/a", f"2 {SQUARE}")
    (tmp_path / "classes.yaml").write_text(
        "classes: [car, bus, tree]\npalette: [[1, 1, 1], [2, 2, 2], [3, 3, 3]]\n"
        "merge: {vehicle: [car, bus]}\nignore: [tree]\n"
    )
    dataset = open_dataset(f"yolo:{tmp_path}", "all")
    assert dataset.classes.names == ("background", "vehicle")
    assert dataset.classes.palette == ((0, 0, 0), (1, 1, 1))
    assert dataset[0].label_map[20, 20] == -1


LINES = {
    "0 0.5 0.5 0.25 0.25": "label-detection-line",
    "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4": "label-odd-coordinates",
    "0 0.1 0.1": "polygon-too-few-points",
    "0": "polygon-too-few-points",
    "0 0.1 0.1 0.2 0.2 0.3 x": "label-unreadable-number",
    "0 0.1 0.1 0.2 0.2 0.3 nan": "label-unreadable-number",
    "car 0.1 0.1 0.2 0.2 0.3 0.3": "label-unreadable-number",
    "0.5 0.1 0.1 0.2 0.2 0.3 0.3": "label-unreadable-number",
    "2 0.1 0.1 0.2 0.2 0.3 0.3": "label-unknown-class",
    "-1 0.1 0.1 0.2 0.2 0.3 0.3": "label-unknown-class",
    "0 10 10 20 20 30 30": "label-not-normalised",
}


@pytest.mark.parametrize("line", LINES)
def test_planted_faults_name_the_line(root, line):
    path = label(root, "labels/train/a", f"0 {SQUARE}\n\n{line}\n")
    dataset = open_unchecked(f"yolo:{root}", "train")
    severity = "error" if LINES[line] == "label-unknown-class" else "warning"
    assert codes(dataset) == {LINES[line]: (severity, (f"{path}:3",))}
    assert (dataset[0].label_map == 1).sum() == 24 * 24  # the sound line is kept
    path.write_text(f"{line}\n" * 9)  # more than half of all lines
    assert codes(open_unchecked(f"yolo:{root}", "train"))[LINES[line]][0] == "error"
    with pytest.raises(DataError, match=r"a\.txt:1, .*9 in all\)\. [A-Z]"):
        open_dataset(f"yolo:{root}", "train")


def test_a_polygon_that_leaves_the_image_is_cut_off(root):
    path = label(root, "labels/train/a", "0 0.5 0.25 1.5 0.25 1.5 0.75 0.5 0.75")
    dataset = open_dataset(f"yolo:{root}", "train")
    assert codes(dataset) == {"polygon-outside-image": ("warning", (f"{path}:1",))}
    assert (dataset[0].label_map == 1).sum() == 32 * 24


def test_files_without_partner(root):
    bare, empty = image(root, "images/train/c"), image(root, "images/train/d")
    label(root, "labels/train/d", "\n")
    lonely = label(root, "labels/train/z", f"0 {SQUARE}")
    dataset = open_dataset(f"yolo:{root}", "train")
    assert codes(dataset) == {
        "image-without-annotation": ("info", (str(bare), str(empty))),
        "mask-without-image": ("warning", (str(lonely),)),
    }
    assert (dataset[2].label_map == 0).all()


def test_images_without_labels_are_a_warning_where_most_are_such(root):
    for key in "cde":
        image(root, f"images/train/{key}")
    severity, files = codes(open_dataset(f"yolo:{root}", "train"))["image-without-annotation"]
    assert (severity, len(files)) == ("warning", 3)


def test_unreadable_label_file(root):
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\xfa")
    assert "label-file-unreadable" in codes(open_unchecked(f"yolo:{root}", "train"))


def test_listed_images_that_do_not_exist(root):
    (root / "data.yaml").write_text("train: list.txt\nnames: [car, tree]")
    (root / "list.txt").write_text("images/train/a.png\nimages/train/x.png")
    dataset = open_unchecked(f"yolo:{root}", "train")
    assert codes(dataset)["id-without-image"][0] == "error"
    assert len(dataset) == 1


def test_no_label_at_all_is_an_error(root):
    (root / "labels").rename(root / "elsewhere")
    with pytest.raises(DataError, match="none of the 2 images of train has a label file"):
        open_dataset(f"yolo:{root}", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a\n", "is not a readable YAML file"),
        ("- names: [a]\n- 'x'\nnames: 3", "is not a readable YAML file"),
        ("names: [a]", "it needs train, val or test"),
        ("names: 3\ntrain: images/train", "no usable names"),
        ("names: {car: 0}\ntrain: images/train", "no usable names"),
        ("names: [a, a]\ntrain: images/train", "occur twice: a"),
        ("names: [a]\ntrain: nowhere", "names nowhere, but"),
    ],
)
def test_malformed_descriptions(root, text, message):
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml") as caught:
        open_dataset(f"yolo:{root}", "train")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neither_description_nor_class_file(root):
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"neither data\.yaml nor a class file"):
        open_dataset(f"yolo:{root}", "train")


@pytest.mark.parametrize("place", ["/", "~/"])
def test_a_whole_disk_or_home_is_no_folder_of_images(root, place):
    (root / "data.yaml").write_text(f'path: "{place}"\ntrain: .\nnames:\n  0: car\n')
    with pytest.raises(DataError, match="with all that is in it: name the folder of the images"):
        open_dataset(f"yolo:{root}", "train")


@pytest.mark.parametrize(
    "text",
    [
        "{train: images/train, names: [car, tree]}",
        "{names: {0: car, 1: tree}, train: [images/train]}\n",
        '{"train": "images/train", "names": ["car", "tree"]}',
        "train: images/train\nnames: [car,\n  tree]\n",
        "train: images/train\r\nnames:\r\n- car\r\n- tree\r\n",
    ],
)
def test_a_description_in_any_form_of_yaml(root, text):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (root / "data.yaml").write_bytes(text.encode(encoding))
        dataset = open_dataset(f"folder:{root}", "train")
        assert dataset.classes.names == NAMES
        assert (dataset[0].label_map == 1).sum() == 24 * 24


def test_splits_of_any_name(root):
    image(root, "images/Validation/c")
    label(root, "labels/Validation/c", f"1 {SQUARE}\n")
    (root / "extra.txt").write_text("./images/train/a.png\n")
    (root / "data.yaml").write_text(
        "train: images/train\nValidation: images/Validation\nextra: extra.txt\nauthor: labels\nlicense: a.txt\n"
        "names: [car, tree]\n"
    )
    (root / "a.txt").write_text("do what you like\n")
    assert list_splits(f"yolo:{root}") == ("train", "Validation", "extra")
    assert open_dataset(f"yolo:{root}", "val").ids == ("c",)
    assert open_dataset(f"yolo:{root}", "extra").ids == ("images/train/a",)


def test_a_split_without_images_leaves_the_others(root):
    (root / "data.yaml").write_text(
        "train: images/train\ntest: ../test/images\nnames: [car, tree]\n"
    )
    assert list_splits(f"yolo:{root}") == ("train",)
    (finding,) = open_dataset(f"yolo:{root}", "train").findings
    assert (finding.code, finding.severity) == ("split-missing", "warning")
    assert "test of data.yaml" in finding.message
    with pytest.raises(DataError, match=r"names \.\./test/images, but .* do not exist"):
        open_dataset(f"yolo:{root}", "test")


def test_lists_with_the_paths_of_another_place(root):
    (root / "data.yaml").write_text("train: train.txt\nnames: [car, tree]\n")
    (root / "train.txt").write_text("data/images/train/a.png\n/home/x/y/images/train/b.png\n")
    dataset = open_dataset(f"yolo:{root}", "train")
    assert dataset.ids == ("images/train/a", "images/train/b")
    assert (dataset[1].label_map == 1).sum() == 24 * 24


def test_label_files_in_capitals_and_in_utf_16(root):
    (root / "labels" / "train" / "a.txt").rename(root / "labels" / "train" / "a.TXT")
    path = root / "labels" / "train" / "b.txt"
    path.write_bytes(path.read_text().encode("utf-16"))
    dataset = open_dataset(f"folder:{root}", "train")
    assert dataset.findings == ()
    assert [(dataset[at].label_map == 1).sum() for at in (0, 1)] == [24 * 24] * 2
