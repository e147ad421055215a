"""`masks: stored` turns the masks of every format by the tags of their images, wherever it is said."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.content import (
    FORMATS,
    IN_TABLES,
    NAMES,
    SIZE,
    ids,
    photo,
    write_coco_polygons,
)
from tests.data.formats.exports import EXPORTS
from tests.data.formats.test_exports import expected
from vitseg.data.catalog import open_dataset
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file, pose_of_folder
from vitseg.data.picked import picked
from vitseg.errors import ConfigError, DataError
from vitseg.evaluation.provenance import content_hash
from vitseg.images.orientation import upright

ORIENTATION = 0x0112
TAGS = (6, 3, 1, 7, 2, 8, 4, 5)
STORED = "masks: stored\n"


def tag_images(folder: Path, tags: tuple[int, ...] = TAGS) -> None:
    """Give each image of a folder a tag, its pixels as they are; which one, its name decides."""
    for path in sorted([*folder.rglob("*.png"), *folder.rglob("*.jpg")]):
        with_tag(path, tags[sum(path.name.encode()) % len(tags)])


def with_tag(path: Path, tag: int) -> None:
    tags = Image.Exif()
    tags[ORIENTATION] = tag
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=tags)


def tag_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.getexif()[ORIENTATION]


def written(root: Path, write, tags: tuple[int, ...] = TAGS) -> None:
    """A data set whose images have tags, while its masks are drawn on the pixels as they are stored."""
    write(root)
    masks = {path: path.read_bytes() for path in root.rglob("*.png") if is_mask(path, root)}
    tag_images(root, tags)
    for path, content in masks.items():
        path.write_bytes(content)


def is_mask(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    folders = ("masks", "SegmentationClass", "trainannot", "valannot")
    return any(part in folders for part in parts) or path.stem.endswith("_mask")


LAYOUTS = {name: write for name, (_, write) in FORMATS.items() if name not in IN_TABLES}
LAYOUTS |= {name: write for name, (_, _, write) in EXPORTS.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_every_format_lie_on_their_upright_images(tmp_path, layout):
    written(tmp_path, LAYOUTS[layout])
    (tmp_path / "classes.yaml").write_text(STORED)  # beside whatever names the classes
    seen = set()
    for split, count in (("train", 4), ("val", 2)):
        dataset = open_dataset(f"folder:{tmp_path}", split)
        dataset = pickle.loads(pickle.dumps(dataset))  # as loader processes get it
        assert dataset.classes.names == NAMES
        assert dataset.source.count("masks as the images are stored") == 1
        for number in range(count):
            tag = tag_of(Path(str(dataset.image_source(number))))
            seen.add(tag)
            sample = dataset[number]
            right = expected(layout, split, number)
            if layout != "roboflow":  # JPEG
                np.testing.assert_array_equal(sample.image, upright(photo(split, number), tag))
            np.testing.assert_array_equal(sample.label_map, upright(right, tag))
            np.testing.assert_array_equal(picked(dataset, [number])[0].label_map, sample.label_map)
    assert len(seen) > 2


@pytest.mark.parametrize("tag", range(1, 9))
def test_every_tag(tmp_path, tag):
    written(tmp_path, LAYOUTS["index"], (tag,))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": NAMES, "masks": "stored"}))
    sample = open_dataset(f"index:{tmp_path}", "train")[0]
    np.testing.assert_array_equal(sample.label_map, upright(ids("train", 0), tag))


def test_upright_is_what_holds_unless_it_is_said(tmp_path):
    written(tmp_path, LAYOUTS["index"], (3,))
    for content in ({}, {"masks": "upright"}, {"masks": None}, {"masks": ""}):
        (tmp_path / "classes.json").write_text(json.dumps({"classes": NAMES, **content}))
        dataset = open_dataset(f"folder:{tmp_path}", "train")
        np.testing.assert_array_equal(dataset[0].label_map, ids("train", 0))
        assert "stored" not in dataset.source


@pytest.mark.parametrize("layout", ["index", "color", "binary-by-class", "coco-polygons", "yolo"])
@pytest.mark.parametrize("value", ["turned", "Stored", "yes", True, ["stored"]])
def test_another_value_is_refused_with_the_allowed_ones(tmp_path, layout, value):
    LAYOUTS[layout](tmp_path)
    file = tmp_path / "classes.json"
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, "masks": value}))
    with pytest.raises(
        DataError, match=r"classes\.json.*masks: .* came, but it is upright .* or stored"
    ):
        open_dataset(f"folder:{tmp_path}", "train")


def test_another_value_in_yaml_is_refused(tmp_path):
    LAYOUTS["index"](tmp_path)
    (tmp_path / "classes.json").unlink()
    (tmp_path / "classes.yaml").write_text("classes: [background, car, tree]\nmasks: no\n")
    with pytest.raises(DataError, match="masks: 'no' came, but it is upright"):
        open_dataset(f"index:{tmp_path}", "train")


def test_a_class_may_be_called_masks(tmp_path):
    for content in ({"masks": 1, "face": 0}, {"classes": ["face", "masks"]}):
        (tmp_path / "classes.json").write_text(json.dumps(content))
        assert read_class_file(tmp_path / "classes.json").classes == {0: "face", 1: "masks"}
        assert pose_of_folder(tmp_path) == "upright"


def test_a_file_of_the_pose_alone_names_no_classes(tmp_path):
    for name, text in (("classes.yaml", STORED), ("Classes.JSON", '{"masks": "stored"}')):
        (tmp_path / name).write_text(text)
        assert find_class_file(tmp_path) is None
        assert pose_of_folder(tmp_path) == "stored"
        (tmp_path / "labels.txt").write_text("road\n")
        assert find_class_file(tmp_path) == tmp_path / "labels.txt"
        assert pose_of_folder(tmp_path) == "stored"
        for file in (name, "labels.txt"):
            (tmp_path / file).unlink()


def test_the_first_file_that_says_it_counts(tmp_path):
    (tmp_path / "classes.json").write_text('{"classes": ["a"], "masks": "upright"}')
    (tmp_path / "classes.yaml").write_text(STORED)
    assert pose_of_folder(tmp_path) == "upright"
    (tmp_path / "classes.json").write_text('{"classes": ["a"]}')
    assert pose_of_folder(tmp_path) == "stored"


def test_yolo_takes_it_in_its_own_file(tmp_path):
    written(tmp_path, LAYOUTS["yolo"])
    file = tmp_path / "data.yaml"
    file.write_text(file.read_text() + STORED)
    for kind in ("yolo", "folder"):
        dataset = open_dataset(f"{kind}:{tmp_path}", "train")
        tag = tag_of(Path(str(dataset.image_source(0))))
        np.testing.assert_array_equal(dataset[0].label_map, upright(ids("train", 0), tag))
    file.write_text(file.read_text().replace("stored", "sideways"))
    with pytest.raises(DataError, match=r"data\.yaml is malformed: masks: 'sideways' came"):
        open_dataset(f"yolo:{tmp_path}", "train")


def test_polygons_without_a_stated_size_count_in_the_stored_picture(tmp_path):
    written(tmp_path, write_coco_polygons, (6,))
    for file in (tmp_path / "annotations").iterdir():
        content = json.loads(file.read_text())
        for image in content["images"]:
            del image["height"], image["width"]
        file.write_text(json.dumps(content))
    (tmp_path / "classes.yaml").write_text(STORED)
    dataset = open_dataset(f"coco:{tmp_path}", "train")
    assert not any(finding.code == "polygon-outside-image" for finding in dataset.findings)
    np.testing.assert_array_equal(dataset[0].label_map, upright(ids("train", 0), 6))


def test_hub_data_sets_take_it_as_an_option_or_from_their_class_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    files = tmp_path / "image.png", tmp_path / "mask.png"
    Image.fromarray(photo("train", 0)).save(files[0], exif=tags)
    Image.fromarray(ids("train", 0)).save(files[1])
    cells = [{"bytes": file.read_bytes(), "path": None} for file in files]
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    columns = {"image": [cells[0]], "label": [cells[1]]}
    root = tmp_path / "saved"
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(root)
    named = tmp_path / "named.json"
    named.write_text(json.dumps({"classes": NAMES, "masks": "stored"}))
    (root / "classes.json").write_text(json.dumps({"classes": NAMES}))
    right = upright(ids("train", 0), 6)
    for query in ("?masks=stored", f"?classes={named}"):
        sample = open_dataset(f"huggingface:{root}{query}", "all")[0]
        np.testing.assert_array_equal(sample.label_map, right)
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, "masks": "stored"}))
    np.testing.assert_array_equal(open_dataset(f"folder:{root}", "all")[0].label_map, right)
    with pytest.raises(ConfigError, match=r"masks: 'aside' came, but it is upright .* or stored"):
        open_dataset(f"huggingface:{root}?masks=aside", "all")
    with pytest.raises(DataError, match=r"a mask must have the size of its image.*masks: stored"):
        open_dataset(f"huggingface:{root}?masks=upright", "all")[0]


# A mask that carries a tag itself


@pytest.mark.parametrize("pose", ["upright", "stored"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("image_tag", "own"), [(6, 6), (1, 6), (6, 3), (8, 2), (6, 1), (6, 9)])
def test_a_mask_with_a_tag_is_turned_by_it_alone(tmp_path, pose, suffix, image_tag, own):
    LAYOUTS["index"](tmp_path)
    stored = np.arange(400, dtype=np.uint8).reshape(20, 20) % 3
    tags = Image.Exif()
    tags[ORIENTATION] = own
    (tmp_path / "masks/train/0.png").unlink()
    Image.fromarray(stored).save(tmp_path / f"masks/train/0{suffix}", exif=tags)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "images/train/0.png")
    with_tag(tmp_path / "images/train/0.png", image_tag)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": NAMES, "masks": pose}))
    turn = own if 2 <= own <= 8 else image_tag if pose == "stored" else 1
    dataset = open_dataset(f"index:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[0].label_map, upright(stored, turn))


@pytest.mark.parametrize("pose", ["upright", "stored"])
def test_binary_masks_with_a_tag_are_turned_by_it_alone(tmp_path, pose):
    LAYOUTS["binary-by-class"](tmp_path)
    for path in (tmp_path / "masks/train").rglob("0.png"):
        with_tag(path, 3)
    with_tag(tmp_path / "images/train/0.png", 2)
    (tmp_path / "classes.yaml").write_text(f"masks: {pose}\n")
    dataset = open_dataset(f"binary:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[0].label_map, upright(ids("train", 0), 3))


@pytest.mark.parametrize("tag", [0, 9])
def test_a_tag_that_is_none_turns_nothing(tmp_path, tag):
    written(tmp_path, LAYOUTS["index"], (tag,))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": NAMES, "masks": "stored"}))
    sample = open_dataset(f"index:{tmp_path}", "train")[0]
    np.testing.assert_array_equal(sample.label_map, ids("train", 0))
    np.testing.assert_array_equal(sample.image, photo("train", 0))


# What else has to know


@pytest.mark.parametrize("layout", ["index", "binary-by-class", "coco-polygons"])
def test_the_error_about_the_size_names_the_cure(tmp_path, layout):
    written(tmp_path, LAYOUTS[layout], (8,))
    with pytest.raises(
        DataError, match=r"is 64x48 pixels, but its image .* is 48x64: .*`masks: stored`"
    ):
        open_dataset(f"folder:{tmp_path}", "train")[0]


def test_the_error_about_another_size_speaks_of_no_tag(tmp_path):
    written(tmp_path, LAYOUTS["index"], (8,))
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(tmp_path / "masks/train/0.png")
    with pytest.raises(DataError, match="a mask must have the size of its image") as caught:
        open_dataset(f"folder:{tmp_path}", "train")[0]
    assert "masks:" not in str(caught.value)


def test_large_annotated_images_name_the_cure(tmp_path):
    height, width = 1700, 2400  # beyond what is believed without a look at the image
    (tmp_path / "images").mkdir()
    Image.new("RGB", (width, height)).save(tmp_path / "images/a.png")
    with_tag(tmp_path / "images/a.png", 6)
    corners = [0, 0, width, 0, width, 10, 0, 10]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [corners]}],
        "categories": [{"id": 1, "name": "car"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"says that the image has 2400x1700.*`masks: stored`"):
        open_dataset(f"coco:{tmp_path}", "train")[0]
    (tmp_path / "classes.yaml").write_text(STORED)
    label_map = open_dataset(f"coco:{tmp_path}", "train")[0].label_map
    assert label_map.shape == (width, height)
    assert label_map[:, -10:].min() == 1  # the stored upper edge is the right one
    assert label_map[:, :-10].max() == 0


def test_what_is_measured_is_another_where_masks_lie_otherwise(tmp_path):
    written(tmp_path, LAYOUTS["index"], (3,))
    hashes = set()
    for pose in ("upright", "stored"):
        (tmp_path / "classes.json").write_text(json.dumps({"classes": NAMES, "masks": pose}))
        hashes.add(content_hash(open_dataset(f"index:{tmp_path}", "train")))
    assert len(hashes) == 2


def test_images_without_masks_are_background_of_their_size(tmp_path):
    LAYOUTS["binary-by-class"](tmp_path)
    for path in (tmp_path / "masks/train").rglob("0.png"):
        path.unlink()
    with_tag(tmp_path / "images/train/0.png", 5)
    (tmp_path / "classes.yaml").write_text(STORED)
    label_map = open_dataset(f"binary:{tmp_path}", "train")[0].label_map
    assert label_map.shape == SIZE[::-1]
    assert not label_map.any()
