from __future__ import annotations

import os
import re

import numpy as np
import pytest
from PIL import Image

from tests.prepare.trees import box, write_polygons
from vitseg.data.catalog import open_dataset
from vitseg.prepare import jobs
from vitseg.prepare.cityscapes import NOT_DRAWN, TRAIN_IDS, convert
from vitseg.prepare.jobs import no_progress
from vitseg.prepare.prepare import prepare

EVAL = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
STEM = "aachen_000000_000019"
MASK = f"gtFine/train/aachen/{STEM}_gtFine_labelTrainIds.png"


def obj(label: str, polygon, **more) -> dict:
    return {"label": label, "polygon": polygon, **more}


def masks(root):
    with Image.open(root / MASK) as image:
        assert image.mode == "L"
        return np.array(image).tolist()


def run(tmp_path, objects, size=(4, 6)):
    write_polygons(tmp_path, "train", STEM, objects, size)
    outcome = convert(tmp_path, tmp_path, no_progress)
    assert outcome == (1, 0, ())
    return masks(tmp_path)


def test_train_ids():
    assert [TRAIN_IDS[name] for name in EVAL.values()] == list(range(19))
    assert {train_id for name, train_id in TRAIN_IDS.items() if name not in EVAL.values()} == {255}
    assert len(TRAIN_IDS) + len(NOT_DRAWN) == 35


def test_later_polygons_lie_over_earlier_ones(tmp_path):
    objects = [
        obj("road", box(0, 0, 5, 3)),
        obj("car", box(1, 1, 3, 2)),
        obj("sky", box(3, 0, 5, 1)),
    ]
    assert run(tmp_path, objects) == [
        [0, 0, 0, 10, 10, 10],
        [0, 13, 13, 10, 10, 10],
        [0, 13, 13, 13, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_groups_void_deleted_and_plates(tmp_path):
    objects = [
        obj("cargroup", box(0, 0, 1, 3)),
        obj("polegroup", box(2, 0, 2, 3)),  # a label of its own, which is ignored
        obj("bicyclegroup", box(3, 0, 3, 3)),
        obj("road", box(0, 0, 5, 3), deleted=1),
        obj("license plate", box(0, 1, 1, 1)),  # stays car
        obj("person", box(4, 0, 5, 3), deleted=0),
        obj("out of roi", box(0, 3, 5, 3)),
        obj("ego vehicle", box(5, 2, 5, 2)),
    ]
    assert run(tmp_path, objects) == [
        [13, 13, 255, 18, 11, 11],
        [13, 13, 255, 18, 11, 11],
        [13, 13, 255, 18, 11, 255],
        [255, 255, 255, 255, 255, 255],
    ]


def test_what_no_polygon_covers_is_ignored_and_what_lies_outside_is_cut_off(tmp_path):
    objects = [obj("wall", box(-5, 2, 1, 90)), obj("sky", [[4.0, 0.0], [5.0, 0.0]])]
    assert run(tmp_path, objects) == [
        [255, 255, 255, 255, 10, 10],
        [255] * 6,
        [3, 3, 255, 255, 255, 255],
        [3, 3, 255, 255, 255, 255],
    ]


def test_the_loader_reads_the_result(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    write_polygons(source, "train", STEM, [obj("car", box(0, 0, 7, 2))])
    write_polygons(source, "val", "ulm_000001_000019", [obj("sky", box(0, 0, 7, 5))])
    result = prepare("cityscapes", out, [source])
    assert result.specs == (f"cityscapes:{out}",)
    assert [str(count) for count in result.counts] == [
        "train: 1 of 2975 images", "val: 1 of 500 images", "test: 0 of 1525 images",
    ]  # fmt: skip
    assert result.failures == ()
    dataset = open_dataset(result.specs[0], "train")
    assert "labelTrainIds" in dataset.source
    label_map = dataset[0].label_map
    assert dataset.classes.names[label_map[0, 0]] == "car"
    assert (label_map[3:] == -1).all()
    assert not (out / "gtFine/train/aachen" / f"{STEM}_gtFine_polygons.json").exists()


def test_images_are_linked_not_copied(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    write_polygons(source, "train", STEM, [])
    convert(source, out, no_progress)
    image = f"leftImg8bit/train/aachen/{STEM}_leftImg8bit.png"
    assert (source / image).samefile(out / image)
    assert not (out / image).is_symlink()


def test_where_links_are_not_possible_images_are_copied(tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    source, out = tmp_path / "source", tmp_path / "out"
    write_polygons(source, "train", STEM, [])
    convert(source, out, no_progress)
    image = f"leftImg8bit/train/aachen/{STEM}_leftImg8bit.png"
    assert (source / image).read_bytes() == (out / image).read_bytes()
    assert not (source / image).samefile(out / image)


def test_a_second_run_makes_only_what_is_missing_or_damaged(tmp_path):
    stems = [f"aachen_00000{i}_000019" for i in range(5)]
    for stem in stems:
        write_polygons(tmp_path, "train", stem, [obj("car", box(0, 0, 7, 2))])
    assert convert(tmp_path, tmp_path, no_progress) == (5, 0, ())
    folder = tmp_path / "gtFine/train/aachen"
    paths = [folder / f"{stem}_gtFine_labelTrainIds.png" for stem in stems]
    good = paths[0].read_bytes()
    times = paths[4].stat().st_mtime_ns
    paths[0].unlink()
    paths[1].write_bytes(good[: len(good) // 2])
    Image.new("L", (8, 5)).save(paths[2])  # of another size
    Image.new("L", (8, 6), 26).save(paths[3])  # of other ids
    steps = []
    assert convert(tmp_path, tmp_path, lambda *step: steps.append(step)) == (4, 1, ())
    assert all(path.read_bytes() == good for path in paths)
    assert paths[4].stat().st_mtime_ns == times
    assert steps == [("draw the polygons", done, 5) for done in range(1, 6)]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no readable polygon file"),
        ("[]", "no readable polygon file"),
        ('{"imgHeight": 4, "imgWidth": 6}', "no readable polygon file"),
        ('{"imgHeight": 0, "imgWidth": 6, "objects": []}', "6x0 pixels, which is no possible size"),
        ('{"imgHeight": 99999, "imgWidth": 99999, "objects": []}', "no possible size"),
        ([{"polygon": []}], "object 0 has no label"),
        ([obj("road", box(0, 0, 1, 1)), obj("unicorn", [])], "object 1 has the label 'unicorn'"),
        ([obj("group", [])], "the label 'group'"),
        ([obj("road", [])], r"object 0 \(road\) has no polygon"),
        ([obj("road", [[1, 2]])], "no polygon of two or more"),
        ([obj("road", [[1, 2], [3]])], "has no polygon"),
        ([obj("road", [[1, 2], ["a", 3], [4, 5]])], "has no polygon"),
        ([{"label": "road"}], "has no polygon"),
    ],
)
def test_damaged_files_are_named_and_the_others_done(tmp_path, content, message):
    write_polygons(tmp_path, "train", STEM, [])
    bad = write_polygons(
        tmp_path, "train", "bonn_000000_000019", content if isinstance(content, list) else []
    )
    if isinstance(content, str):
        bad.write_text(content)
    made, kept, failures = convert(tmp_path, tmp_path, no_progress)
    assert (made, kept, len(failures)) == (1, 0, 1)
    assert str(bad) in failures[0]
    assert re.search(message, failures[0]), failures[0]


def test_many_files_are_done_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "IN_PROCESS", 1)
    for number in range(3):
        write_polygons(tmp_path, "train", f"aachen_00000{number}_000019", [])
    bad = write_polygons(tmp_path, "val", "bonn_000000_000019", [])
    bad.write_text("{")
    made, kept, failures = convert(tmp_path, tmp_path, no_progress)
    assert (made, kept) == (3, 0)
    assert len(failures) == 1
    assert str(bad) in failures[0]


def test_real_label_ids_and_train_ids_agree_with_the_table(shared):
    """The official pairs of both kinds of masks say which label has which train id."""
    folder = shared / "data" / "samples" / "cityscapes" / "gtFine" / "train"
    seen: dict[int, int] = {}
    for path in sorted(folder.glob("*/*_labelIds.png")):
        ids = np.array(Image.open(path))
        train_ids = np.array(Image.open(str(path).replace("labelIds", "labelTrainIds")))
        seen |= {int(raw): int(train_ids[ids == raw].max()) for raw in np.unique(ids)}
    assert len(seen) > 15
    for raw, train_id in seen.items():
        assert train_id == (TRAIN_IDS[EVAL[raw]] if raw in EVAL else 255)
