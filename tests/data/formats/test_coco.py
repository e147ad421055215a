from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.content import NAMES, SIZE, boxes, coco, ids, photo, polygon, save
from vitseg.checks.fast import fast_findings
from vitseg.checks.run import check_dataset
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked
from vitseg.errors import DataError

SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def one_image(*annotations: dict, **changes) -> dict:
    """One image of 64x48 with these annotations, numbered from 1."""
    return {
        "images": [{"id": 7, "file_name": "0.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 1, "segmentation": SQUARE, **annotation}
            for number, annotation in enumerate(annotations, start=1)
        ],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}],
        **changes,
    }


@pytest.fixture
def root(tmp_path):
    """A folder with the image of `one_image`."""
    save(tmp_path / "images" / "0.png", photo("train", 0))
    return tmp_path


def opened(root: Path, content: dict):
    write(root / "annotations" / "annotations.json", content)
    return open_unchecked(f"coco:{root}", "all")


def codes(dataset) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {
        finding.code: (finding.severity, finding.count, finding.files)
        for finding in dataset.findings
    }


LAYOUTS = {
    "coco": ("annotations/instances_{}2017.json", "{}2017", "2017"),
    "images-by-split": ("annotations/{}.json", "images/{}", ""),
    "roboflow": ("{}/_annotations.coco.json", "{}", ""),
    "files-at-the-root": ("{}.json", "images", ""),
    "split-folder-with-images": ("annotations/{}.json", "{}/images", ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    annotations, images, ending = LAYOUTS[layout]
    for split in ("train", "val"):
        # one image each, of a name of its own, because some layouts share a folder
        content = coco(split, lambda split, number, name: [polygon(boxes(split, number)[name])])
        content["images"] = [{**content["images"][0], "file_name": f"{split}.png"}]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] == 1]
        write(tmp_path / annotations.format(split), content)
        save(tmp_path / images.format(split) / f"{split}.png", photo(split, 0))
    write(tmp_path / "annotations" / "captions_train2017.json", {})
    assert set(list_splits(f"coco:{tmp_path}")) == {f"train{ending}", f"val{ending}"}
    dataset = open_dataset(f"coco:{tmp_path}", "val")
    assert dataset.ids == ("val",)
    assert dataset.findings == ()
    np.testing.assert_array_equal(dataset[0].label_map, ids("val", 0))


def test_file_names_may_have_folders_of_another_machine(root):
    for name in ("some/where/0.png", r"C:\data\0.png", "/abs/0.png", "../../0.png"):
        content = one_image({})
        content["images"][0]["file_name"] = name
        assert opened(root, content).image_source(0) == root / "images" / "0.png"


def test_categories_go_by_ascending_id_and_background_comes_first(root):
    categories = [{"id": 30, "name": "tree"}, {"id": 4, "name": "car"}, {"id": 5, "name": "bus"}]
    dataset = opened(root, one_image({"category_id": 5}, categories=categories))
    assert dataset.classes.names == ("background", "car", "bus", "tree")
    assert dataset.label_mapping == {0: 0, 4: 1, 5: 2, 30: 3}
    assert dataset[0].label_map[5, 5] == 2


def test_a_category_may_be_the_background(root):
    categories = [{"id": 0, "name": "car"}, {"id": 1, "name": "Background"}]
    dataset = opened(root, one_image({"category_id": 0}, categories=categories))
    assert dataset.classes.names == ("car", "Background")
    assert dataset[0].label_map[5, 5] == 0
    assert dataset[0].label_map[0, 0] == 1


def test_a_crowd_counts_as_its_class_and_objects_stay_visible_on_it(root):
    whole = {"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}
    crowd = {"iscrowd": 1, "category_id": 2, "segmentation": whole}
    for order in (({}, crowd), (crowd, {})):
        label_map = opened(root, one_image(*order))[0].label_map
        assert (label_map == NAMES.index("car")).sum() == 100
        assert (label_map == NAMES.index("tree")).sum() == SIZE[0] * SIZE[1] - 100


def test_roboflow_headings_are_no_classes(root):
    categories = [
        {"id": 0, "name": "car", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "car"},
        {"id": 2, "name": "tree", "supercategory": "car"},
    ]
    dataset = opened(root, one_image({}, categories=categories))
    assert dataset.classes.names == NAMES
    assert codes(dataset)["group-category"] == ("info", 1, ("0 car",))


def full(value: int) -> dict:
    return {"size": list(SIZE), "counts": [0, value]}


FAULTY = {
    "unknown category": (
        {"category_id": 9},
        "annotation-unknown-category",
        "annotation 1 (category_id 9)",
    ),
    "background is no category": (
        {"category_id": 0},
        "annotation-unknown-category",
        "annotation 1 (category_id 0)",
    ),
    "unknown image": ({"image_id": 8}, "annotation-unknown-image", "annotation 1 (image_id 8)"),
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "polygon-too-few-points", "annotation 1"),
    "only a box": (
        {"segmentation": [], "bbox": [1, 2, 3, 4]},
        "annotation-without-shape",
        "annotation 1",
    ),
    "odd": ({"segmentation": [[1, 1, 5, 5, 1, 5, 3]]}, "annotation-malformed", "annotation 1"),
    "words": ({"segmentation": [["a"] * 6]}, "annotation-malformed", "annotation 1"),
    "on one line": ({"segmentation": [[1, 1, 5, 5, 9, 9]]}, "polygon-without-area", "annotation 1"),
    "number": ({"segmentation": 5}, "annotation-malformed", "annotation 1"),
    "not a number": (
        {"segmentation": [[1, 1, 5, 5, 1, float("nan")]]},
        "annotation-malformed",
        "annotation 1",
    ),
    "other planet": (
        {"segmentation": [[1, 1, 1e9, 5, 1, 1e9]]},
        "annotation-malformed",
        "annotation 1",
    ),
    "short runs": ({"segmentation": full(5)}, "annotation-malformed", "annotation 1"),
    "long runs": ({"segmentation": full(10**9)}, "annotation-malformed", "annotation 1"),
    "runs of another size": (
        {"segmentation": {"size": [64, 48], "counts": [0, 64 * 48]}},
        "annotation-malformed",
        "annotation 1",
    ),
    "damaged runs": (
        {"segmentation": {"size": list(SIZE), "counts": "zzz"}},
        "annotation-malformed",
        "annotation 1",
    ),
    "runs without counts": (
        {"segmentation": {"size": list(SIZE)}},
        "annotation-malformed",
        "annotation 1",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_planted_faults_leave_the_annotation_out(root, name):
    annotation, code, place = FAULTY[name]
    dataset = opened(root, one_image(annotation))
    assert codes(dataset)[code] == ("error", 1, (place,))
    assert (dataset[0].label_map == 0).all()
    with pytest.raises(DataError, match=rf"^Annotations .*: {place.split(' (')[0]}.*\. [A-Z]"):
        open_dataset(f"coco:{root}", "all")


@pytest.mark.parametrize(
    "outside", [[50, 2, 70, 2, 70, 12, 50, 12], [-9, 2, 14, 2, 14, 12, -9, 12]]
)
def test_a_polygon_that_leaves_its_image_is_cut_off(root, outside):
    dataset = opened(root, one_image({"segmentation": [outside]}))
    assert codes(dataset) == {"polygon-outside-image": ("warning", 1, ("annotation 1",))}
    assert (dataset[0].label_map == 1).sum() == 14 * 10
    assert len(open_dataset(f"coco:{root}", "all")) == 1


def test_duplicate_image_ids(root):
    content = one_image({})
    save(root / "images" / "1.png", photo("train", 1))
    content["images"].append({**content["images"][0], "file_name": "1.png"})
    dataset = opened(root, content)
    assert codes(dataset)["duplicate-image-id"] == ("error", 1, ("image 7 (1.png)",))
    assert dataset.ids == ("0",)


def test_missing_image_files(root):
    content = one_image({}, {"image_id": 8})
    content["images"].append({**content["images"][0], "id": 8, "file_name": "x.png"})
    dataset = opened(root, content)
    assert codes(dataset) == {
        "id-without-image": ("error", 1, (str(root / "images" / "x.png"),))
    }  # and not an unknown image
    assert dataset.ids == ("0",)


def test_images_without_annotation_and_files_that_are_not_listed(root):
    save(root / "train" / "0.png", photo("train", 0))
    save(root / "train" / "1.png", photo("train", 1))
    write(root / "annotations" / "train.json", one_image())
    dataset = open_unchecked(f"coco:{root}", "train")
    assert codes(dataset) == {
        "image-without-annotation": ("warning", 1, (str(root / "train" / "0.png"),)),  # all
        "image-not-listed": ("warning", 1, (str(root / "train" / "1.png"),)),
    }
    assert (dataset[0].label_map == 0).all()


@pytest.mark.parametrize(("annotated", "severity"), [(2, "info"), (1, "warning")])
def test_training_is_told_where_most_images_are_not_annotated(root, annotated, severity):
    content = one_image(*({"image_id": number} for number in range(annotated)))
    content["images"] = []
    for number in range(4):
        save(root / "images" / f"{number}.png", photo("train", number))
        size = {"height": SIZE[0], "width": SIZE[1]}
        content["images"].append({"id": number, "file_name": f"{number}.png", **size})
    dataset = opened(root, content)
    assert codes(dataset)["image-without-annotation"][:2] == (severity, 4 - annotated)
    told = {each.code for each in fast_findings(dataset)}
    assert ("image-without-annotation" in told) == (severity == "warning")


@pytest.mark.parametrize(
    "entry",
    [
        {"file_name": "0.png"},
        {"id": 7},
        {"id": [7], "file_name": "0.png"},
        {"id": 7, "file_name": "0.png", "height": "many", "width": 64},
        {"id": 7, "file_name": "0.png", "height": 48, "width": 0},
        {"id": 7, "file_name": "0.png", "height": 10**6, "width": 10**6},
        "0.png",
    ],
)
def test_malformed_image_entries(root, entry):
    dataset = opened(root, one_image(images=[entry]))
    assert codes(dataset)["image-entry-malformed"][:2] == ("error", 1)
    assert len(dataset) == 0


def test_the_size_is_read_from_the_file_where_the_entry_has_none(root):
    dataset = opened(root, one_image({}, images=[{"id": 7, "file_name": "0.png"}]))
    assert (dataset[0].label_map == 1).sum() == 100


def test_a_size_that_is_not_that_of_the_file(root):
    content = one_image({})
    content["images"][0]["height"] = 40
    with pytest.raises(DataError, match=r"mask of .*0\.png is 64x40 pixels, but .* is 64x48"):
        opened(root, content)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "is not a readable JSON file"),
        ('{"images": []}', "has no list 'annotations'"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "needs a name and an"),
        ('{"images": [], "annotations": [], "categories": ["car"]}', "needs a name and an"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            "occur twice: a",
        ),
    ],
)
def test_malformed_files(root, text, message):
    (root / "annotations").mkdir()
    (root / "annotations" / "annotations.json").write_text(text)
    with pytest.raises(DataError, match=r"annotations\.json") as caught:
        open_dataset(f"coco:{root}", "all")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_annotation_file_and_two_of_one_split(root):
    with pytest.raises(DataError, match=r"holds no COCO annotation file\. A COCO data set holds"):
        open_dataset(f"coco:{root}", "all")
    for path in ("annotations/train.json", "train.json"):
        write(root / path, one_image())
    with pytest.raises(DataError, match="both annotations of the split train"):
        open_dataset(f"coco:{root}", "train")


def test_a_sliver_does_not_refuse_the_others(root):
    slivers = [
        {"segmentation": [[1, 1, 5, 5]]},
        {"segmentation": [[1, 1, 5, 5, 9, 9]]},
        {"segmentation": []},
        {"image_id": 99},
        {"segmentation": [[1, 1, 1e9, 5, 1, 1e9]]},
    ]
    dataset = open_dataset_of(root, one_image(*slivers, *[{}] * 12))
    found = codes(dataset)
    assert len(found) == 5
    assert {severity for severity, _, _ in found.values()} == {"warning"}
    assert (dataset[0].label_map == 1).sum() == 100


def open_dataset_of(root: Path, content: dict):
    write(root / "annotations" / "annotations.json", content)
    return open_dataset(f"coco:{root}", "all")


@pytest.mark.parametrize(
    "segmentation",
    [
        [*SQUARE, [1, 1, 5, 5]],  # what is sound of several parts
        SQUARE[0],  # without the outer brackets
        [[[2, 2], [12, 2], [12, 12], [2, 12]]],  # pairs
        [[str(value) for value in SQUARE[0]]],
    ],
)
def test_what_can_be_used_of_a_shape_is_used(root, segmentation):
    dataset = opened(root, one_image({"segmentation": segmentation}, {}, {}))
    assert (dataset[0].label_map == 1).sum() == 100
    assert all(severity == "warning" for severity, _, _ in codes(dataset).values())


def test_crowds_in_every_spelling_of_run_lengths(root):
    area = SIZE[0] * SIZE[1]
    for counts in ([0, area], [0.0, float(area)]):
        crowd = {"iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": counts}}
        assert (opened(root, one_image(crowd))[0].label_map == 1).all()


@pytest.mark.parametrize(("image_id", "category"), [("7", "1"), (7.0, 1.0), (7, "1"), ("7", 1)])
def test_ids_may_be_text_or_have_a_point(root, image_id, category):
    dataset = open_dataset_of(root, one_image({"image_id": image_id, "category_id": category}))
    assert (dataset[0].label_map == 1).sum() == 100
    content = one_image({"image_id": 7})
    content["images"][0] |= {"id": "7", "height": "48", "width": 64.0}
    content["categories"][0]["id"] = "1"
    assert (open_dataset_of(root, content)[0].label_map == 1).sum() == 100


@pytest.mark.parametrize("raw", [70000, 2**40, -1, "car"])
def test_category_ids_out_of_range_are_numbered_anew(root, raw):
    content = one_image({"category_id": raw})
    content["categories"] = [{"id": raw, "name": "car"}, {"id": 2, "name": "tree"}]
    dataset = open_dataset_of(root, content)
    assert set(dataset.classes.names) == {"background", "car", "tree"}
    assert (dataset[0].label_map == dataset.classes.names.index("car")).sum() == 100
    assert codes(dataset)["category-renumbered"][0] == "info"


def test_images_in_sub_folders_are_found_by_path_and_by_last_part(tmp_path):
    save(tmp_path / "images" / "berlin" / "0.png", photo("train", 0))
    for name in ("berlin/0.png", "0.png", "data/images/0.png"):
        content = one_image({})
        content["images"][0]["file_name"] = name
        assert open_dataset_of(tmp_path, content).ids == ("berlin/0",)


def test_two_listed_images_of_one_stem(root):
    save(root / "images" / "0.bmp", photo("train", 0))
    content = one_image({})
    content["images"].append({**content["images"][0], "id": 8, "file_name": "0.bmp"})
    with pytest.raises(DataError, match=r"0\.png and .*0\.bmp have the same stem"):
        open_dataset_of(root, content)


def test_where_no_image_is_there_both_sides_are_shown(root):
    content = one_image({})
    content["images"][0]["file_name"] = "elsewhere.jpg"
    with pytest.raises(DataError, match=r"it names elsewhere\.jpg; there are the images 0\.png\."):
        opened(root, content)


def two_splits(root, val_categories: list[dict], val_category: int) -> None:
    for split, categories, category in (
        ("train", [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}], 2),
        ("val", val_categories, val_category),
    ):
        content = one_image({"category_id": category}, categories=categories)
        content["images"][0]["file_name"] = f"{split}.png"
        write(root / "annotations" / f"instances_{split}.json", content)
        save(root / split / f"{split}.png", photo(split, 0))


@pytest.mark.parametrize(
    ("categories", "tree"),
    [
        ([{"id": 1, "name": "tree"}, {"id": 2, "name": "car"}], 1),
        ([{"id": 1, "name": "tree"}], 1),
        ([{"id": 2, "name": "tree"}], 2),
        ([{"id": 7, "name": "tree"}, {"id": 8, "name": "bus"}], 7),
        ([{"id": "t", "name": "tree"}], "t"),
    ],
)
def test_all_splits_have_one_table_whatever_their_categories(tmp_path, categories, tree):
    two_splits(tmp_path, categories, tree)
    train, val = (open_dataset(f"coco:{tmp_path}", split) for split in ("train", "val"))
    assert train.classes == val.classes
    assert train.label_mapping == val.label_mapping
    at = train.classes.names.index("tree")
    assert train[0].label_map[5, 5] == val[0].label_map[5, 5] == at
    assert check_dataset(f"coco:{tmp_path}", num_workers=0).num_errors == 0


def test_a_damaged_split_is_told_where_it_is_opened(tmp_path):
    two_splits(tmp_path, [{"id": 1}], 1)
    assert open_dataset(f"coco:{tmp_path}", "train").classes.names == NAMES
    with pytest.raises(DataError, match="each needs a name"):
        open_dataset(f"coco:{tmp_path}", "val")


def test_names_may_be_numbers(root):
    categories = [{"id": 1, "name": 7}, {"id": 2, "name": 2.5}]
    assert opened(root, one_image({}, categories=categories)).classes.names[1:] == ("7", "2.5")


def test_run_lengths_in_a_list_are_one_shape(root):
    first = {"size": list(SIZE), "counts": [0, 10, SIZE[0] * SIZE[1] - 10]}
    second = {"size": list(SIZE), "counts": [20, 5, SIZE[0] * SIZE[1] - 25]}
    for parts, pixels in (([first], 10), ([first, second], 15)):
        dataset = opened(root, one_image({"segmentation": parts}))
        assert dataset.findings == ()
        assert (dataset[0].label_map == 1).sum() == pixels


def test_an_image_under_two_ids_has_the_annotations_of_both(root):
    content = one_image(
        {}, {"image_id": 2, "category_id": 2, "segmentation": [[40, 2, 50, 2, 50, 9, 40, 9]]}
    )
    content["images"].append({**content["images"][0], "id": 2})
    dataset = opened(root, content)
    assert len(dataset) == 1
    assert codes(dataset)["listed-twice"][:2] == ("warning", 1)
    assert set(np.unique(dataset[0].label_map)) == {0, 1, 2}


@pytest.mark.parametrize("name", ["labels.json", "classes.JSON", "export.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_annotation_files_of_any_name_and_encoding(tmp_path, name, encoding):
    save(tmp_path / "data" / "0.png", photo("train", 0))
    (tmp_path / name).write_bytes(json.dumps(one_image({})).encode(encoding))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert (dataset[0].label_map == 1).sum() == 100


def test_a_file_beside_those_of_instances_is_a_split_of_its_own(tmp_path):
    two_splits(tmp_path, [{"id": 2, "name": "tree"}], 2)
    path = tmp_path / "annotations" / "instances_val.json"
    path.rename(path.with_name("val.json"))
    write(tmp_path / "annotations" / "stuff_train.json", one_image({}))
    assert list_splits(f"coco:{tmp_path}") == ("train", "val")


def test_file_names_may_differ_in_capitals_where_that_is_clear(root):
    content = one_image({})
    content["images"][0]["file_name"] = "0.PNG"
    assert opened(root, content).image_source(0) == root / "images" / "0.png"
    for name in ("a.png", "A.png"):
        save(root / "images" / name, photo("train", 0))
    content["images"][0]["file_name"] = "a.PNG"
    with pytest.raises(DataError, match="none of the 1 images"):
        opened(root, content)


@pytest.mark.parametrize("missing", ["s2/a.png", "s1/a.png"])
def test_annotations_of_a_missing_image_are_not_drawn_on_another_of_its_name(tmp_path, missing):
    content = one_image({}, {"image_id": 8, "category_id": 2})
    entry = content["images"][0]
    names = {7: "s1/a.png", 8: "s2/a.png"}
    content["images"] = [entry | {"id": number, "file_name": names[number]} for number in names]
    for name in names.values():
        if name != missing:
            save(tmp_path / "images" / name, photo("train", 0))
    dataset = opened(tmp_path, content)
    assert len(dataset) == 1
    assert set(np.unique(dataset[0].label_map)) == {0, 1 if missing == "s2/a.png" else 2}
    assert codes(dataset) == {
        "id-without-image": ("error", 1, (str(tmp_path / "images" / missing),))
    }


def test_names_of_folders_that_are_not_there_are_found_where_they_are_clear(tmp_path):
    content = one_image({})
    content["images"][0]["file_name"] = "export/a.png"
    save(tmp_path / "images" / "a.png", photo("train", 0))
    assert opened(tmp_path, content).findings == ()
