"""Exports of labelling tools are read as they are: found by themselves, named, and pixel for pixel right."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.data.formats.content import NAMES, SIZE, SPLITS, ids, photo, save
from tests.data.formats.exports import (
    BORDER,
    EXPORTS,
    VOC_COLORS,
    contoured,
    encode_brush,
    labelme_shape,
    write_cvat_camvid,
    write_cvat_mask,
    write_label_studio_json,
    write_label_studio_min,
    write_label_studio_png,
    write_labelme,
    write_roboflow,
    write_voc,
)
from vitseg.checks.run import check_dataset
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import FOLDER, list_splits, open_dataset, open_unchecked
from vitseg.errors import DataError
from vitseg.images.brush_rle import decode_brush


def expected(export: str, split: str, number: int) -> np.ndarray:
    if export != "voc":
        return ids(split, number).astype(np.int64)
    found = contoured(split, number).astype(np.int64)
    found[found == 255] = IGNORE_INDEX
    return found


@pytest.mark.parametrize("export", EXPORTS)
def test_exports_are_read_without_conversion(tmp_path, export):
    name, called, write = EXPORTS[export]
    write(tmp_path)
    assert FOLDER.detect(tmp_path).name == name
    assert len(list_splits(f"folder:{tmp_path}")) == 2
    for split, count in SPLITS.items():
        dataset = open_dataset(f"folder:{tmp_path}", split)
        assert len(dataset) == count
        assert dataset.classes.names == NAMES
        assert called in dataset.source
        assert all(each.severity == "info" for each in dataset.findings), dataset.findings
        for number in range(count):
            label_map = dataset[number].label_map
            np.testing.assert_array_equal(label_map, expected(export, split, number))


@pytest.mark.parametrize("export", EXPORTS)
def test_data_show_names_the_export(tmp_path, export):
    from vitseg.cli.app import app

    _, called, write = EXPORTS[export]
    write(tmp_path)
    shown = CliRunner().invoke(app, ["data", "show", f"folder:{tmp_path}"], env={"COLUMNS": "600"})
    assert shown.exit_code == 0, shown.output
    assert called in " ".join(shown.output.split())


def test_cvat_black_and_border_outside_the_map(tmp_path):
    write_cvat_mask(tmp_path, background=False)
    path = tmp_path / "SegmentationClass" / "train0.png"
    mask = VOC_COLORS[ids("train", 0)]
    mask[:2] = BORDER
    save(path, mask)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert dataset.classes.names == NAMES
    wanted = ids("train", 0).astype(int)
    wanted[:2] = IGNORE_INDEX
    np.testing.assert_array_equal(dataset[0].label_map, wanted)
    mask[5, 5] = (1, 2, 3)  # other colours are a mistake
    save(path, mask)
    with pytest.raises(DataError, match="colours outside the class table: #010203"):
        open_dataset(f"folder:{tmp_path}", "train")[0]


def test_cvat_frames_in_sub_folders_and_the_default_split(tmp_path):
    write_cvat_mask(tmp_path)
    for kind in ("JPEGImages", "SegmentationClass"):
        (tmp_path / kind / "clip").mkdir()
        (tmp_path / kind / "train1.png").rename(tmp_path / kind / "clip" / "frame 1.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    for path in lists.iterdir():
        path.unlink()
    (lists / "default.txt").write_text("train0\nclip/frame 1\n")
    assert list_splits(f"folder:{tmp_path}") == ("default",)
    assert open_dataset(f"folder:{tmp_path}", "default").ids == ("train0", "clip/frame 1")


@pytest.mark.parametrize("listed", [True, False])
def test_cvat_frames_that_are_not_labelled_yet_are_left_out_with_a_warning(tmp_path, listed):
    write_cvat_mask(tmp_path)
    if not listed:
        for path in (tmp_path / "ImageSets" / "Segmentation").iterdir():
            path.unlink()
    for number in (0, 2, 3):
        (tmp_path / "SegmentationClass" / f"train{number}.png").unlink()
    dataset = open_dataset(f"folder:{tmp_path}", "train" if listed else "all")
    assert dataset.ids == (("train1",) if listed else ("train1", "val0", "val1"))
    (finding,) = dataset.findings
    assert (finding.code, finding.severity) == ("image-without-mask", "warning")
    assert finding.files == ("train0", "train2", "train3")
    np.testing.assert_array_equal(dataset[0].label_map, ids("train", 1))
    assert check_dataset(f"folder:{tmp_path}", num_workers=0).num_errors == 0
    for path in (tmp_path / "SegmentationClass").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="have no mask file"):
        open_dataset(f"color:{tmp_path}", "train" if listed else "all")


@pytest.mark.parametrize("write", [write_voc, write_cvat_camvid])
def test_masks_that_other_exports_lack_are_errors(tmp_path, write):
    write(tmp_path)
    (lost,) = tmp_path.rglob(
        "*annot/train0.png" if write is write_cvat_camvid else "*Class/train0.png"
    )
    lost.unlink()
    with pytest.raises(DataError, match="1 of 4 ids have no mask file"):
        open_dataset(f"folder:{tmp_path}", "train")


def test_cvat_map_with_labels_without_colour_and_camvid_lines_in_labelmap(tmp_path):
    write_cvat_mask(tmp_path)
    (tmp_path / "labelmap.txt").write_text("background:::\ncar:::\ntree:::\n")
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))
    other = tmp_path / "other"
    write_cvat_camvid(other)
    (other / "label_colors.txt").rename(other / "labelmap.txt")
    dataset = open_dataset(f"folder:{other}", "train")
    assert "CamVid" in dataset.source
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_roboflow_without_splits(tmp_path):
    write_roboflow(tmp_path / "x")
    (tmp_path / "x" / "train").rename(tmp_path / "flat")
    dataset = open_dataset(f"folder:{tmp_path / 'flat'}", "all")
    assert dataset.classes.names == NAMES
    np.testing.assert_array_equal(dataset[2].label_map, ids("train", 2))


def test_voc_in_colours(tmp_path):
    write_voc(tmp_path)
    for path in (tmp_path / "SegmentationClass").iterdir():
        Image.open(path).convert("RGB").save(path)
    (tmp_path / "labels.txt").unlink()
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncar:128,0,0::\ntree:0,128,0::\n")
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[0].label_map, expected("voc", "train", 0))


def labelme_file(root: Path, *shapes: dict, **more: object) -> Path:
    save(root / "a.png", photo("train", 0))
    content = {"shapes": shapes, "imagePath": "a.png", "imageData": None, **more}
    (root / "a.json").write_text(json.dumps(content))
    return root / "a.json"


def test_labelme_shapes_without_area_are_a_warning(tmp_path):
    labelme_file(
        tmp_path,
        labelme_shape("car", "rectangle", [[12, 12], [2, 2]]),
        labelme_shape("car", "circle", [[40, 20], [45, 20]]),
        labelme_shape("car", "line", [[1, 1], [5, 5]]),
        labelme_shape("car", "point", [[1, 1]]),
        labelme_shape("car", "polygon", [[1, 1], [5, 5]]),
        labelme_shape("car", "mask", [[1, 1], [5, 5]], mask="no picture"),
        labelme_shape("__ignore__", "rectangle", [[0, 0], [64, 1]]),
    )
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert {each.code: (each.severity, each.count) for each in dataset.findings} == {
        "polygon-without-area": ("warning", 3),
        "annotation-malformed": ("warning", 1),
    }
    label_map = dataset[0].label_map
    assert dataset.classes.names == ("background", "car")
    assert (label_map[2:12, 2:12] == 1).all()
    assert abs(int((label_map[:, 30:] == 1).sum()) - np.pi * 25) < 6
    assert (label_map[0] == IGNORE_INDEX).all()


def test_labelme_labels_txt_gives_the_classes_in_its_order(tmp_path):
    labelme_file(tmp_path, labelme_shape("tree", "rectangle", [[2, 2], [12, 12]]))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ntree\ncar\n")
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert dataset.classes.names == ("_background_", "tree", "car")
    assert (dataset[0].label_map == 1).sum() == 100


def test_labelme_files_in_a_folder_of_their_own(tmp_path):
    write_labelme(tmp_path / "x")
    for split in SPLITS:
        for path in sorted((tmp_path / "x" / split).iterdir()):
            kind = "labels" if path.suffix == ".json" else "images"
            target = tmp_path / "data" / kind / split / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    dataset = open_dataset(f"folder:{tmp_path / 'data'}", "train")
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_label_studio_images_named_after_tasks(tmp_path):
    write_label_studio_png(tmp_path, named_by_task=True)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_label_studio_masks_whose_images_are_unknown(tmp_path):
    write_label_studio_png(tmp_path)
    (tmp_path / "project-1.json").unlink()
    with pytest.raises(
        DataError, match=r"tasks are task-1, .*images of .* are images/train/train0.*json"
    ):
        open_dataset(f"folder:{tmp_path}", "train")


def test_label_studio_boxes_and_further_annotations_are_warnings(tmp_path):
    write_label_studio_json(tmp_path)
    path = tmp_path / "train.json"
    tasks = json.loads(path.read_text())
    frame = {"original_width": SIZE[1], "original_height": SIZE[0], "type": "rectanglelabels"}
    box = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["car"]}
    tasks[0]["annotations"][0]["result"].append({"value": box, **frame})
    stroke = {"rle": encode_brush(np.ones((3, 3), bool)), "brushlabels": ["car"]}
    tasks[0]["annotations"][0]["result"].append({"value": stroke, **frame})
    tasks[0]["annotations"][0]["result"].append({"value": {"choices": ["day"]}, **frame})
    tasks[1]["annotations"].append(tasks[0]["annotations"][0])
    tasks[2]["annotations"].insert(0, {"was_cancelled": True, "result": []})
    path.write_text(json.dumps(tasks))
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert {each.code: (each.severity, each.count) for each in dataset.findings} == {
        "annotation-malformed": ("warning", 1),
        "annotation-without-shape": ("warning", 1),
        "further-annotations": ("warning", 1),
    }
    for number in range(4):
        np.testing.assert_array_equal(dataset[number].label_map, ids("train", number))


def test_brush_strokes(tmp_path):
    rng = np.random.default_rng(0)
    inside = rng.random((37, 23)) < 0.4
    np.testing.assert_array_equal(decode_brush(bytes(encode_brush(inside)), (37, 23)), inside)
    with pytest.raises(DataError, match="ends early"):
        decode_brush(bytes(encode_brush(inside))[:50], (37, 23))
    with pytest.raises(DataError, match="has 3,404 values"):
        decode_brush(bytes(encode_brush(inside)), (37, 24))


def test_a_damaged_label_studio_file_is_named(tmp_path):
    write_label_studio_json(tmp_path)
    path = tmp_path / "val.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match=r"val\.json is not a readable JSON file"):
        open_unchecked(f"folder:{tmp_path}", "train")


def test_roboflow_tables_that_differ_are_refused(tmp_path):
    write_roboflow(tmp_path)
    table = tmp_path / "valid" / "_classes.csv"
    table.write_text("Pixel Value, Class\n0, background\n1, tree\n2, car\n")
    with pytest.raises(DataError, match=r"train/_classes\.csv and .*valid/_classes\.csv differ"):
        open_dataset(f"folder:{tmp_path}", "train")


def test_an_export_without_images_says_how_to_get_them(tmp_path):
    write_cvat_mask(tmp_path)
    for path in (tmp_path / "JPEGImages").iterdir():
        path.unlink()
    (tmp_path / "JPEGImages").rmdir()
    with pytest.raises(DataError, match=r"Segmentation mask 1\.1', but without its images.*'Save"):
        open_dataset(f"folder:{tmp_path}", "train")


@pytest.mark.parametrize("export", EXPORTS)
def test_the_check_finds_no_mistake_in_an_export(tmp_path: Path, export):
    EXPORTS[export][2](tmp_path)
    found = check_dataset(f"folder:{tmp_path}", num_workers=0).findings
    assert [each for each in found if each.severity == "error"] == []


def labelme_names(tmp_path) -> dict[str, str]:
    dataset = open_unchecked(f"folder:{tmp_path}", "all")
    return {each.code: each.severity for each in dataset.findings}


def test_labelme_paints_in_the_order_of_the_file(tmp_path):
    """As labelme2voc does: later over earlier, whatever their sizes and groups."""
    small = labelme_shape("car", "rectangle", [[10, 10], [20, 20]])
    large = labelme_shape("tree", "rectangle", [[5, 5], [30, 30]], group_id=1)
    other = labelme_shape("car", "rectangle", [[25, 25], [40, 40]], group_id=1)
    labelme_file(tmp_path, small, large, other)
    label_map = open_dataset(f"folder:{tmp_path}", "all")[0].label_map
    assert (label_map[12, 12], label_map[28, 28], label_map[35, 35]) == (2, 1, 1)
    labelme_file(tmp_path, large, other, small)
    label_map = open_dataset(f"folder:{tmp_path}", "all")[0].label_map
    assert (label_map[12, 12], label_map[28, 28], label_map[35, 35]) == (1, 1, 1)


@pytest.mark.parametrize("kind", ["point", "line", "linestrip", "ellipse"])
def test_labelme_shapes_without_area_are_counted(tmp_path, kind):
    sound = labelme_shape("car", "rectangle", [[2, 2], [12, 12]])
    labelme_file(tmp_path, sound, labelme_shape("tree", kind, [[3, 3], [9, 9]]))
    assert labelme_names(tmp_path) == {"polygon-without-area": "warning"}


@pytest.mark.parametrize("layout", ["picture first", "picture between", "upper", "utf-16"])
def test_labelme_files_are_known_wherever_their_keys_are(tmp_path, layout):
    points = np.array([[2, 2], [12, 2], [12, 12], [2, 12]], float)
    shape = labelme_shape("car", "polygon", np.repeat(points, 400, axis=0).tolist())
    path = labelme_file(tmp_path, shape)
    content = json.loads(path.read_text()) | {"imageData": "A" * 9000, "imageHeight": SIZE[0]}
    order = sorted(content) if layout == "picture first" else sorted(content, key=lambda k: k < "j")
    text = json.dumps({key: content[key] for key in order})
    path.write_bytes(text.encode("utf-16" if layout == "utf-16" else "utf-8"))
    if layout == "upper":
        path.rename(path.with_suffix(".JSON"))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert (dataset[0].label_map == 1).sum() == 100


def test_labelme_files_that_are_cut_or_too_many_are_errors(tmp_path):
    path = labelme_file(tmp_path, labelme_shape("car", "rectangle", [[2, 2], [12, 12]]))
    save(tmp_path / "cut.png", photo("train", 1))
    (tmp_path / "cut.json").write_text(path.read_text()[:60])
    (tmp_path / "again.json").write_text(path.read_text())
    found = labelme_names(tmp_path)
    assert found["label-file-unreadable"] == "error"
    assert found["several-files-of-an-image"] == "error"


@pytest.mark.parametrize("rest", [0, 60, 900])
def test_labelme_files_in_a_folder_of_their_own_that_are_cut_are_errors(tmp_path, rest):
    write_labelme(tmp_path / "x")
    images, labels = tmp_path / "data" / "images", tmp_path / "data" / "labels"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for path in sorted((tmp_path / "x" / "train").iterdir()):
        path.rename((labels if path.suffix == ".json" else images) / path.name)
    cut = labels / "1.json"
    cut.write_text(cut.read_text()[:rest])
    (labels / "settings.json").write_text("{")  # of no image
    (labels / "other").mkdir()
    (labels / "other" / "2.json").write_text(
        '{"taken": "at noon"}'
    )  # nothing of labelme, but whole
    dataset = open_unchecked(f"folder:{tmp_path / 'data'}", "all")
    assert [each.files for each in dataset.findings if each.severity == "error"] == [(str(cut),)]


def test_labelme2voc_with_arrays_beside_the_pictures(tmp_path):
    """As its older versions write it: SegmentationClass/*.npy and SegmentationClassPNG/*.png."""
    write_voc(tmp_path)
    (tmp_path / "SegmentationClass").rename(tmp_path / "SegmentationClassPNG")
    (tmp_path / "SegmentationClass").mkdir()
    np.save(tmp_path / "SegmentationClass" / "train0.npy", ids("train", 0))
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[0].label_map, expected("voc", "train", 0))


def label_studio(tmp_path, change, split: str = "train"):
    """The export with its tasks changed by a function."""
    write_label_studio_json(tmp_path)
    path = tmp_path / f"{split}.json"
    tasks = json.loads(path.read_text())
    path.write_text(json.dumps(change(tasks) or tasks))
    return open_dataset(f"folder:{tmp_path}", split)


def test_label_studio_uploads_of_names_with_blanks_and_signs(tmp_path):
    def change(tasks):
        tasks[0]["data"]["image"] = "/data/upload/1/0a1b2c3d-my_photo_1_copy.png"
        (tmp_path / "images" / "train0.png").rename(
            tmp_path / "images" / "my photo (1), [copy].png"
        )

    dataset = label_studio(tmp_path, change)
    assert "images/my photo (1), [copy]" in dataset.ids
    np.testing.assert_array_equal(dataset[0].label_map, ids("train", 0))


def test_label_studio_shapes_whose_label_is_an_entry_of_its_own(tmp_path):
    def change(tasks):
        for task in tasks:
            parts = []
            for region in task["annotations"][0]["result"]:
                value = dict(region["value"])
                labels = value.pop("brushlabels", None) or value.pop("polygonlabels")
                parts.append({**region, "type": "brush", "value": value})
                parts.append({**region, "type": "labels", "value": {"labels": labels}})
            task["annotations"][0]["result"] = parts

    dataset = label_studio(tmp_path, change)
    assert dataset.classes.names == NAMES
    assert dataset.findings == ()
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_label_studio_regions_of_several_labels_are_told(tmp_path):
    def change(tasks):
        for region in tasks[0]["annotations"][0]["result"][:1]:
            key = next(key for key in region["value"] if key.endswith("labels"))
            region["value"][key].append("tree")

    (finding,) = label_studio(tmp_path, change).findings
    assert (finding.code, finding.severity) == ("region-of-several-labels", "warning")


def test_label_studio_two_tasks_of_one_image(tmp_path):
    dataset = label_studio(tmp_path, lambda tasks: [*tasks, {**tasks[0], "id": 99}])
    (finding,) = dataset.findings
    assert finding.code == "further-annotations"
    np.testing.assert_array_equal(dataset[0].label_map, ids("train", 0))


def test_label_studio_min_of_two_annotators_and_of_nothing_drawn(tmp_path):
    write_label_studio_min(tmp_path)
    path = tmp_path / "train.json"
    tasks = json.loads(path.read_text())
    again = {key: value for key, value in tasks[0].items() if key not in ("tag", "shape")}
    empty = {key: value for key, value in tasks[1].items() if key not in ("tag", "shape")}
    path.write_text(json.dumps([tasks[0], {**again, "annotator": 2}, empty, *tasks[2:]]))
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    codes = {each.code for each in dataset.findings}
    assert codes == {"further-annotations", "image-without-annotation"}
    assert len(dataset) == 4
    np.testing.assert_array_equal(dataset[0].label_map, ids("train", 0))
    assert not dataset[1].label_map.any()


def test_label_studio_masks_by_people_with_an_address(tmp_path):
    write_label_studio_png(tmp_path)
    for path in sorted((tmp_path / "masks").iterdir()):
        path.rename(path.with_name(path.name.replace("by-1-", "by-a.b-c@x-y.example.org-")))
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert dataset.classes.names == NAMES
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_label_studio_regions_without_label_or_on_a_further_image(tmp_path):
    def change(tasks):
        first, second = (task["annotations"][0]["result"] for task in tasks[:2])
        value = first[0]["value"]
        for key in [key for key in value if key.endswith("labels")]:
            del value[key]
        tasks[1]["data"]["other"] = "/data/upload/1/x.png"
        second[0]["to_name"] = "other"

    dataset = label_studio(tmp_path, change)
    assert {each.code: (each.severity, each.count) for each in dataset.findings} == {
        "region-without-label": ("warning", 1),
        "region-of-another-image": ("warning", 1),
    }


@pytest.mark.parametrize("place", ["annotations/train.json", "TRAIN.JSON"])
def test_label_studio_exports_in_other_places_and_with_a_mark(tmp_path, place):
    write_label_studio_json(tmp_path)
    (tmp_path / "val.json").unlink()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    content = (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").unlink()
    (tmp_path / place).write_text(content, encoding="utf-8-sig")
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_labelme_lists_may_name_the_files_and_labels_are_text(tmp_path):
    sound = labelme_shape("car", "rectangle", [[2, 2], [12, 12]])
    labelme_file(tmp_path, sound, {**sound, "label": " "}, {**sound, "label": 7})
    (tmp_path / "train.txt").write_text("a.json\n")
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert dataset.classes.names == ("background", "car")
    assert [(each.code, each.count) for each in dataset.findings] == [("annotation-malformed", 2)]


FRAME = {
    "original_width": SIZE[1],
    "original_height": SIZE[0],
    "from_name": "l",
    "to_name": "image",
}


def write_tasks(root: Path, *tasks: tuple[str, list[dict]]) -> None:
    """An export of tasks: what each says of its image, and its regions."""
    content = [
        {"id": number, "data": {"image": image}, "annotations": [{"result": regions}]}
        for number, (image, regions) in enumerate(tasks, start=1)
    ]
    (root / "export.json").write_text(json.dumps(content))


def polygon_region(label: str) -> dict:
    points = [[10, 10], [60, 10], [60, 60]]
    return {**FRAME, "type": "polygonlabels", "value": {"points": points, "polygonlabels": [label]}}


def bitmask_region(label: str, mask: Image.Image) -> dict:
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    value = {"imageDataURL": address, "bitmasklabels": [label]}
    return {**FRAME, "type": "bitmasklabels", "value": value}


def drawn(inside: np.ndarray, form: str) -> Image.Image:
    if form == "black and white":
        return Image.fromarray(inside.astype(np.uint8) * 255)
    picture = np.zeros((*inside.shape, 4), np.uint8)
    picture[inside] = (255, 0, 0, 255) if form == "colour" else (0, 0, 0, 255)
    return Image.fromarray(picture)


@pytest.mark.parametrize("form", ["colour", "black", "black and white"])
@pytest.mark.parametrize("classes", [None, ["background", "car", "tree"]])
def test_label_studio_bitmasks(tmp_path, form, classes):
    save(tmp_path / "a.png", photo("train", 0))
    inside = np.random.default_rng(0).random(SIZE) < 0.4
    write_tasks(
        tmp_path, ("a.png", [polygon_region("tree"), bitmask_region("car", drawn(inside, form))])
    )
    if classes is not None:
        (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert dataset.classes.names == ("background", "car", "tree")
    assert dataset.findings == ()
    label_map = dataset[0].label_map
    assert set(np.unique(label_map)) == {0, 1, 2}
    np.testing.assert_array_equal(label_map == 1, inside & (label_map != 2))


@pytest.mark.parametrize("kind", ["cut", "of another size", "no base64", "empty"])
def test_label_studio_bitmasks_that_cannot_be_drawn_are_told(tmp_path, kind):
    save(tmp_path / "a.png", photo("train", 0))
    size = (3, 3) if kind == "of another size" else SIZE
    region = bitmask_region("car", drawn(np.full(size, kind != "empty"), "colour"))
    address = region["value"]["imageDataURL"]
    if kind == "cut":
        region["value"]["imageDataURL"] = address[: len(address) // 8 * 4]
    if kind == "no base64":
        region["value"]["imageDataURL"] = "http://server/mask.png"
    write_tasks(tmp_path, ("a.png", [region, polygon_region("tree")]))
    (finding,) = open_dataset(f"folder:{tmp_path}", "all").findings
    code = "polygon-without-area" if kind == "empty" else "annotation-malformed"
    assert (finding.code, finding.severity, finding.count) == (code, "warning", 1)


@pytest.mark.parametrize("kind", ["rectanglelabels", "vectorlabels"])
def test_label_studio_tasks_of_which_nothing_can_be_drawn_are_refused(tmp_path, kind):
    save(tmp_path / "a.png", photo("train", 0))
    save(tmp_path / "b.png", photo("train", 1))
    region = {**FRAME, "type": kind, "value": {"x": 1, "y": 1, kind: ["car"]}}
    write_tasks(tmp_path, ("a.png", [region]), ("b.png", [region]))
    with pytest.raises(DataError, match="boxes, points or vectors"):
        open_dataset(f"folder:{tmp_path}", "all")
    write_tasks(tmp_path, ("a.png", [region, polygon_region("car")]), ("b.png", [region]))
    findings = open_dataset(f"folder:{tmp_path}", "all").findings
    assert ("annotation-without-shape", "warning", 2) in [
        (each.code, each.severity, each.count) for each in findings
    ]


def test_labelme_files_of_which_nothing_can_be_drawn_are_refused(tmp_path):
    save(tmp_path / "a.png", photo("train", 0))
    line = {"label": "car", "shape_type": "linestrip", "points": [[1, 1], [9, 9]]}
    square = {"label": "car", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}

    def write(*shapes: dict) -> None:
        content = {"imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (tmp_path / "a.json").write_text(json.dumps(content | {"flags": {}, "shapes": shapes}))

    write(line, line)
    with pytest.raises(DataError, match="points or lines"):
        open_dataset(f"folder:{tmp_path}", "all")
    write(line, line, square)
    (finding,) = open_dataset(f"folder:{tmp_path}", "all").findings
    assert (finding.severity, finding.count) == ("warning", 2)


def test_regions_of_a_missing_image_are_not_drawn_on_another_of_its_name(tmp_path):
    save(tmp_path / "scene1" / "a.png", photo("train", 0))
    write_tasks(
        tmp_path,
        ("/data/local-files/?d=scene2/a.png", [polygon_region("tree")]),
        ("/data/local-files/?d=scene1/a.png", [polygon_region("car")]),
    )
    dataset = open_unchecked(f"folder:{tmp_path}", "all")
    assert len(dataset) == 1
    assert {each.code for each in dataset.findings} == {"id-without-image"}
    shown = np.unique(dataset[0].label_map).tolist()
    assert [dataset.classes.names[index] for index in shown] == ["background", "car"]


MASKS_OF_OTHERS = ("masks_human/a.jpg.png", "previews/a.png")


def with_masks_of_others(root: Path) -> None:
    save(root / "images" / "a.jpg", photo("train", 0))
    for name in MASKS_OF_OTHERS:
        save(root / name, photo("train", 1))


@pytest.mark.parametrize(
    "address", ["upload/1/0011aabb-a.jpg", "local-files/?d=a.jpg", "local-files/?d=photos/a.JPG"]
)
def test_label_studio_tasks_mean_the_image_and_no_picture_of_its_mask(tmp_path, address):
    with_masks_of_others(tmp_path)
    write_tasks(tmp_path, (f"/data/{address}", [polygon_region("car")]))
    assert open_dataset(f"folder:{tmp_path}", "all").ids == ("images/a",)


def test_label_studio_uploads_renamed_mean_the_image_of_their_suffix(tmp_path):
    save(tmp_path / "images" / "a (1).jpg", photo("train", 0))
    save(tmp_path / "previews" / "a (1).png", photo("train", 1))
    write_tasks(tmp_path, ("/data/upload/1/0011aabb-a_1.jpg", [polygon_region("car")]))
    assert open_dataset(f"folder:{tmp_path}", "all").ids == ("images/a (1)",)


@pytest.mark.parametrize("named", ["a.jpg", "../images/a.jpg", "C:\\photos\\a.jpg"])
def test_labelme_files_mean_the_image_and_no_picture_of_its_mask(tmp_path, named):
    with_masks_of_others(tmp_path)
    square = labelme_shape("car", "rectangle", [[2, 2], [12, 12]])
    content = {"shapes": [square], "imagePath": named, "imageData": None}
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.json").write_text(json.dumps(content))
    (tmp_path / "all.txt").write_text("a.jpg\n")
    assert open_dataset(f"folder:{tmp_path}", "all").ids == ("images/a",)


def write_png(root: Path, task: int, label: str) -> np.ndarray:
    """A mask of "Brush labels to PNG"; returns where it is."""
    inside = np.zeros(SIZE, bool)
    inside[2:9, 3:12] = True
    save(root / f"task-{task}-annotation-1-by-1-tag-{label}-0.png", inside.astype(np.uint8) * 255)
    return inside


def brush_region(label: str, inside: np.ndarray) -> dict:
    value = {"format": "rle", "rle": encode_brush(inside), "brushlabels": [label]}
    return {**FRAME, "type": "brushlabels", "value": value}


def test_label_studio_pngs_leave_out_nothing_that_their_json_has(tmp_path):
    """Polygons, boxes, other tasks, empty annotations, the ground truth, several labels of a region."""
    for folder in (tmp_path / "json", tmp_path / "png"):
        for number, name in enumerate("abcde"):
            save(folder / f"{name}.png", photo("train", number % 4))
        inside = write_png(folder, 1, "car")
        write_png(folder, 4, "car")
        write_png(folder, 5, "car-tree")
        box = {**FRAME, "type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["car"]}}
        of_two = brush_region("car", inside)
        of_two["value"]["brushlabels"].append("tree")
        write_tasks(
            folder,
            ("a.png", [brush_region("car", inside), polygon_region("tree"), box]),
            ("b.png", [polygon_region("tree")]),
            ("c.png", []),
            ("d.png", [brush_region("car", inside)]),
            ("e.png", [of_two]),
        )
        tasks = json.loads((folder / "export.json").read_text())
        tasks[3]["annotations"].append({"result": [polygon_region("sky")], "ground_truth": True})
        (folder / "export.json").write_text(json.dumps(tasks))
    for path in (tmp_path / "json").glob("task-*.png"):
        path.unlink()
    wanted, found = (open_dataset(f"folder:{tmp_path / name}", "all") for name in ("json", "png"))
    assert wanted.ids == found.ids == tuple("abcde")
    assert wanted.classes == found.classes
    told = [[(each.code, each.count) for each in dataset.findings] for dataset in (wanted, found)]
    assert told[0] == told[1] != []
    for number in range(5):
        np.testing.assert_array_equal(found[number].label_map, wanted[number].label_map)


def test_label_studio_pngs_of_tasks_that_their_json_lacks_are_read(tmp_path):
    for number, name in enumerate("ab"):
        save(tmp_path / f"{name}.png", photo("train", number))
    inside = write_png(tmp_path, 2, "car")
    write_tasks(tmp_path, ("a.png", [polygon_region("tree")]), ("b.png", []))
    tasks = json.loads((tmp_path / "export.json").read_text())
    tasks[1]["annotations"] = []
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert dataset.classes.names == ("background", "car", "tree")
    assert dataset.findings == ()
    assert set(np.unique(dataset[0].label_map)) == {0, 2}
    np.testing.assert_array_equal(dataset[1].label_map, inside.astype(int))
    assert [dataset.mask_files(index)[0].suffix for index in range(2)] == [".json", ".png"]
    assert "brush labels in PNG files" in dataset.source
    assert "export.json" in dataset.source
