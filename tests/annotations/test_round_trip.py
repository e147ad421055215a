"""What is written for a labelling tool, read by the readers of this project: the same labels at every pixel."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from vitseg.annotations.cvat import map_colors
from vitseg.annotations.label_config import read_brush_control
from vitseg.annotations.table import WRITERS
from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.data.catalog import open_dataset
from vitseg.errors import ConfigError

NAMES = ("road", "tree & <bush>", 'a "quoted" sign', "sky", "never seen")
SIZES = ((23, 37), (1, 9), (40, 16))


def label_map(number: int) -> np.ndarray:
    """Blobs with holes in holes, pieces of a pixel, and pixels that touch at corners."""
    height, width = SIZES[number]
    rng = np.random.default_rng(number)
    labels = rng.integers(0, 4, (-(-height // 4), -(-width // 4))).repeat(4, 0).repeat(4, 1)
    labels = labels[:height, :width]
    noisy = rng.random(labels.shape) < 0.15
    return np.where(noisy, rng.integers(0, 4, labels.shape), labels).astype(np.uint8)


def written(root, name, classes, turned=False):
    folder = WRITERS[name](root / name, classes)
    (root / "photos").mkdir()
    for number, size in enumerate(SIZES):
        path = root / "photos" / f"{number}.png"
        image = Image.fromarray(np.full((*size, 3), 60 * number, np.uint8))
        exif = image.getexif()
        if turned:
            image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
        image.save(path, exif=exif)
        folder.add(path, f"street {number} ü.png", label_map(number))
    folder.close()
    return root / name


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_the_same_labels_are_read(tmp_path, name, turned):
    root = written(tmp_path, name, ClassTable.from_names(NAMES), turned)
    dataset = open_dataset(f"folder:{root}", "all" if name != "cvat" else "default")
    assert len(dataset) == len(SIZES)
    for number in range(len(SIZES)):
        sample = dataset[number]
        assert sample.image.shape[:2] == SIZES[number]
        read = np.array(dataset.classes.names)[sample.label_map]
        np.testing.assert_array_equal(read, np.array(NAMES)[label_map(number)])
    wrong = [each for each in dataset.findings if each.severity == "error"]
    assert not wrong


@pytest.mark.parametrize("has_background", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_pixels_without_a_class_get_none(tmp_path, name, has_background):
    names = ("background", *NAMES[1:]) if has_background else NAMES
    folder = WRITERS[name](tmp_path / "out", ClassTable.from_names(names))
    labels = label_map(0).astype(np.int32)
    labels[:, 20:] = IGNORE_INDEX
    labels[5:9, 4:9] = IGNORE_INDEX
    Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(tmp_path / "a.png")
    folder.add(tmp_path / "a.png", "a.png", labels)
    folder.close()
    dataset = open_dataset(f"folder:{folder.folder}", "all" if name != "cvat" else "default")
    read, known = dataset[0].label_map, labels != IGNORE_INDEX
    found = np.array(dataset.classes.names)[read]
    np.testing.assert_array_equal(found[known], np.array(names)[labels[known]])
    if name in ("cvat", "labelme"):  # the others have no word for it
        assert (read[~known] == IGNORE_INDEX).all()
    else:
        assert set(found[~known]) == {"background"} or (read[~known] == IGNORE_INDEX).all()


@pytest.mark.parametrize("file", ["photo%201.png", "50% #1?.png", "a+b & c;d=e.png"])
@pytest.mark.parametrize("name", WRITERS)
def test_images_keep_the_signs_of_their_names(tmp_path, name, file):
    folder = WRITERS[name](tmp_path / "out", ClassTable.from_names(NAMES))
    Image.fromarray(np.zeros((*SIZES[0], 3), np.uint8)).save(tmp_path / "a.png")
    folder.add(tmp_path / "a.png", file, label_map(0))
    folder.close()
    dataset = open_dataset(f"folder:{folder.folder}", "all" if name != "cvat" else "default")
    assert [key.rpartition("/")[2] for key in dataset.ids] == [file.removesuffix(".png")]


@pytest.mark.parametrize("name", WRITERS)
def test_a_class_that_is_the_background_stays_one_class(tmp_path, name):
    names = ("background", *NAMES[1:])
    palette = ((200, 10, 10), (0, 0, 0), (224, 224, 192), (5, 5, 5), (5, 5, 5))
    root = written(tmp_path, name, ClassTable(names=names, palette=palette))
    dataset = open_dataset(f"folder:{root}", "all" if name != "cvat" else "default")
    assert dataset.classes.names.count("background") == 1
    for number in range(len(SIZES)):
        read = np.array(dataset.classes.names)[dataset[number].label_map]
        np.testing.assert_array_equal(read, np.array(names)[label_map(number)])


def test_cvat_gets_an_archive_without_images(tmp_path):
    root = written(tmp_path, "cvat", ClassTable.from_names(NAMES))
    with zipfile.ZipFile(root / "annotations.zip") as archive:
        names = archive.namelist()
        mask = archive.read("SegmentationClass/street 0 ü.png")
    assert sorted(names) == [
        "ImageSets/Segmentation/default.txt",
        "SegmentationClass/street 0 ü.png",
        "SegmentationClass/street 1 ü.png",
        "SegmentationClass/street 2 ü.png",
        "labelmap.txt",
    ]
    assert mask == (root / "SegmentationClass" / "street 0 ü.png").read_bytes()


def test_colors_of_cvat_are_distinct_and_black_is_the_background():
    names = ("tree", "Background", "road", "sky")
    table = ClassTable(names=names, palette=((0, 0, 0), (9, 9, 9), (9, 9, 9), (7, 7, 7)))
    colors = map_colors(table)
    assert colors[1:] == [(0, 0, 0), (9, 9, 9), (7, 7, 7)]
    assert len(set(colors)) == 4


@pytest.mark.parametrize("name", ["a:b", "#1", " road", "a\nb"])
def test_a_name_that_cvat_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"labelmap\.txt"):
        WRITERS["cvat"](tmp_path, ClassTable.from_names(["sky", name]))


def test_the_label_config_has_every_class(tmp_path):
    root = written(tmp_path, "label-studio", ClassTable.from_names(NAMES))
    control = read_brush_control((root / "label_config.xml").read_text(encoding="utf-8"))
    assert control == ("labels", "image", "image", NAMES)
    tasks = json.loads((root / "tasks.json").read_text())
    region = tasks[0]["predictions"][0]["result"][0]
    assert (region["from_name"], region["to_name"]) == ("labels", "image")
    assert not any("annotations" in task for task in tasks)  # nobody has looked at them


def test_predictions_are_read_only_where_nothing_is_annotated(tmp_path):
    root = written(tmp_path, "label-studio", ClassTable.from_names(NAMES))
    dataset = open_dataset(f"folder:{root}", "all")
    codes = {each.code: each.severity for each in dataset.findings}
    assert codes["predictions-alone"] == "warning"
    path = root / "tasks.json"
    tasks = json.loads(path.read_text())
    tasks[1]["annotations"] = [{"result": tasks[1]["predictions"][0]["result"]}]
    path.write_text(json.dumps(tasks))
    dataset = open_dataset(f"folder:{root}", "all")
    assert [key.rpartition("/")[2] for key in dataset.ids] == ["street 1 ü"]
