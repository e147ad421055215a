"""What a class file says beside annotations that name their classes themselves, and what one without classes says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.content import save
from vitseg.checks.fast import fast_findings
from vitseg.data.catalog import open_dataset
from vitseg.data.class_choices import known_as
from vitseg.data.class_file import ClassFile
from vitseg.data.class_spellings import OTHER_FIELDS
from vitseg.errors import DataError

SIZE = 40, 60
SQUARE = [5.0, 5.0, 25.0, 5.0, 25.0, 25.0, 5.0, 25.0]
PHOTO = np.random.default_rng(0).integers(30, 250, (*SIZE, 3)).astype(np.uint8)


def coco(root: Path) -> None:
    save(root / "images" / "a.png", PHOTO)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]},
            {
                "id": 2,
                "image_id": 1,
                "category_id": 2,
                "segmentation": [[35.0, 5.0, 55.0, 5.0, 55.0, 25.0]],
            },
        ],
    }
    (root / "annotations.json").write_text(json.dumps(content))


def yolo(root: Path) -> None:
    save(root / "train" / "images" / "a.png", PHOTO)
    lines = ["0 0.1 0.1 0.4 0.1 0.4 0.6 0.1 0.6", "1 0.6 0.1 0.9 0.1 0.9 0.6 0.6 0.6"]
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "a.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: train/images\nnames: [car, tree]\n")


def labelme(root: Path) -> None:
    save(root / "a.png", PHOTO)
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[x, 5], [x + 20, 25]]}
        for name, x in (("car", 5), ("tree", 35))
    ]
    content = {
        "imagePath": "a.png",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        "shapes": shapes,
    }
    (root / "a.json").write_text(json.dumps({"version": "5", "flags": {}, **content}))


def binary(root: Path) -> None:
    save(root / "images" / "a.png", PHOTO)
    for name, left in (("car", 5), ("tree", 35)):
        mask = np.zeros(SIZE, np.uint8)
        mask[5:25, left : left + 20] = 255
        save(root / "masks" / name / "a.png", mask)


WRITERS = {"coco": coco, "yolo": yolo, "labelme": labelme, "binary": binary}


@pytest.fixture(params=WRITERS)
def root(request, tmp_path: Path) -> Path:
    WRITERS[request.param](tmp_path)
    return tmp_path


def opened(root: Path, **content):
    (root / "classes.yaml").write_text(json.dumps(content))  # which YAML is, too
    split = "train" if (root / "train").is_dir() else "all"
    return open_dataset(f"folder:{root}", split)


def test_a_class_is_ignored_by_name(root):
    dataset = opened(root, ignore=["background"])
    assert dataset.classes.names == ("car", "tree")
    assert set(np.unique(dataset[0].label_map)) == {-1, 0, 1}


def test_classes_are_merged_by_name(root):
    dataset = opened(root, merge={"thing": ["car", "tree"]})
    assert dataset.classes.names == ("background", "thing")
    assert set(np.unique(dataset[0].label_map)) == {0, 1}


def test_a_name_that_is_no_class_is_told(root):
    with pytest.raises(DataError, match=r"classes\.yaml: ignore: .*'lorry'"):
        opened(root, ignore=["lorry"])


@pytest.mark.parametrize("writer", [coco, yolo])
def test_a_class_file_with_names_chooses_among_those_of_the_annotations(tmp_path, writer):
    writer(tmp_path)
    colors = [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    dataset = opened(
        tmp_path, classes=["background", "car", "tree"], palette=colors, ignore_index=0
    )
    assert dataset.classes.names == ("car", "tree")
    assert dataset.classes.palette == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize("writer", [coco, yolo])
def test_names_that_differ_in_case_alone_are_the_same_classes(tmp_path, writer):
    writer(tmp_path)
    colors = [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    dataset = opened(
        tmp_path,
        classes=["Background", "Car", "TREE"],
        palette=colors,
        ignore=["Tree"],
        ignore_index=0,
    )
    assert dataset.classes.names == ("car",)
    assert dataset.classes.palette == ((1, 2, 3),)
    assert [each.code for each in dataset.findings] == ["one-class"]
    dataset = opened(tmp_path, classes=["Car", "Tree"], merge={"Thing": ["Car", "Tree"]})
    assert dataset.classes.names == ("background", "Thing")


def test_a_file_without_classes_may_spell_them_in_another_case(root):
    dataset = opened(root, ignore=["Background"], merge={"Car": ["CAR", "Tree"]})
    assert dataset.classes.names == ("Car",)


@pytest.mark.parametrize(
    ("named", "names", "known"),
    [
        (["Car", " tree"], ["car", "tree"], {"Car": "car", " tree": "tree"}),
        (["caf\u00e9"], ["cafe\u0301"], {"caf\u00e9": "cafe\u0301"}),
        (["CAR"], ["car", "Car"], {}),  # which of the two?
        (["Car", "car"], ["car"], {"car": "car"}),
        (["Car", "CAR"], ["car"], {}),
        (["bus"], ["car"], {}),
    ],
)
def test_which_class_a_name_is(named, names, known):
    assert known_as(named, names) == known


@pytest.mark.parametrize(
    "content", [{"ignore": ["a"]}, {"merge": {"b": ["a"]}}, {"palette": [[0, 0, 0]]}]
)
def test_choices_without_effect_are_a_warning(root, content):
    named = ["background", "car", "tree"]
    first, second = root / "classes.json", root / "classes.yml"
    first.write_text(json.dumps({"classes": named, "ignore": ["background"]}))
    second.write_text(json.dumps({"classes": ["a"], **content}))
    split = "train" if (root / "train").is_dir() else "all"
    dataset = open_dataset(f"folder:{root}", split)
    assert dataset.classes.names == ("car", "tree")
    (finding,) = dataset.findings
    assert (finding.code, finding.severity) == ("class-file-not-used", "warning")
    assert finding.files == (str(second),)
    assert finding in fast_findings(dataset)
    second.write_text(json.dumps(["a"]))
    assert [each.severity for each in open_dataset(f"folder:{root}", split).findings] == ["info"]


def test_two_files_that_choose_are_told_where_one_does(tmp_path):
    coco(tmp_path)
    (tmp_path / "classes.json").write_text(json.dumps({"ignore": ["background"]}))
    dataset = opened(tmp_path, merge={"thing": ["car", "tree"]})
    assert dataset.classes.names == ("car", "tree")
    assert [(each.code, each.severity) for each in dataset.findings] == [
        ("class-file-not-used", "warning")
    ]


@pytest.mark.parametrize("writer", [coco, yolo])
def test_a_class_file_of_other_classes_chooses_nothing(tmp_path, writer):
    writer(tmp_path)
    dataset = opened(tmp_path, classes=["cat", "dog"], ignore=["cat"])
    assert dataset.classes.names == ("background", "car", "tree")
    assert [each.code for each in dataset.findings] == ["class-file-not-used"]
    assert dataset.findings[0].severity == "warning"


def test_a_class_file_without_classes_has_all_other_fields(root):
    dataset = opened(root, value_range=[0, 4095], bands=[1, 2], masks="stored")
    assert dataset.value_range == (0, 4095)
    assert dataset.bands is not None
    assert dataset.bands.chosen is not None
    assert len(dataset.bands.chosen) == 2
    assert dataset.mask_pose == "stored"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"value_range": [5]}, "value_range"),
        ({"value_range": [9, 1]}, "value_range"),
        ({"value_range": [0, 1], "clases": ["car"]}, "clases"),
        ({"bands": [0]}, "bands"),
        ({"merge": ["car"]}, "merge"),
    ],
)
def test_a_malformed_class_file_is_told(root, content, said):
    with pytest.raises(DataError, match=rf"classes\.yaml.*{said}"):
        opened(root, **content)


def test_bands_alone_are_no_class(tmp_path):
    coco(tmp_path)
    dataset = opened(tmp_path, bands=[3, 2, 1])
    assert dataset.classes.names == ("background", "car", "tree")
    assert dataset.bands is not None


def test_index_masks_need_the_classes(tmp_path):
    save(tmp_path / "images" / "a.png", PHOTO)
    save(tmp_path / "masks" / "a.png", np.eye(*SIZE).astype(np.uint8))
    with pytest.raises(DataError, match=r"classes\.yaml has no classes\. It names the classes"):
        opened(tmp_path, ignore_index=1)


@pytest.mark.parametrize(
    ("content", "names", "labels"),
    [
        ({"value_range": [0, 4095]}, ("road", "sky"), {0, 1}),
        ({"ignore": "sky"}, ("road",), {0, -1}),
        ({"ignore_index": 1}, ("road",), {0, -1}),
        ({"ignore_index": 255}, ("road", "sky"), {0, 1}),
        ({"merge": {"all": ["road", "sky"]}}, ("all",), {0}),
    ],
)
def test_a_class_file_without_classes_beside_one_with_them(tmp_path, content, names, labels):
    save(tmp_path / "images" / "a.png", PHOTO)
    save(tmp_path / "masks" / "a.png", np.eye(*SIZE).astype(np.uint8))
    (tmp_path / "labels.txt").write_text("road\nsky\n")
    dataset = opened(tmp_path, **content)
    assert dataset.classes.names == names
    assert set(np.unique(dataset[0].label_map)) == labels
    assert dataset.value_range == (
        tuple(content["value_range"]) if "value_range" in content else None
    )


def test_ids_without_classes_are_refused(root):
    with pytest.raises(DataError, match=r"classes\.yaml: palette and ignore_index are of the ids"):
        opened(root, palette=[[1, 2, 3]])


def test_the_fields_are_those_of_a_class_file():
    assert {*OTHER_FIELDS, "classes"} == ClassFile.model_fields.keys()
