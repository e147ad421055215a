from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.prepare.trees import write_coco_stuff, write_image
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.prepare.coco_stuff import UNUSED_IDS, compact, convert
from vitseg.prepare.jobs import no_progress
from vitseg.prepare.prepare import prepare

NAME = "COCO_train2014_000000000077"
IDS = [[0, 1, 11, 13], [25, 27, 90, 92], [182, 181, 65, 67]]
COMPACT = [[0, 1, 11, 12], [24, 25, 80, 81], [171, 170, 60, 61]]


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    write_coco_stuff(root, "train", NAME, IDS)
    write_coco_stuff(root, "test", "COCO_train2014_000000000099", [[5, 5]])
    return root


def mask(root, name=NAME, folder="train2014"):
    with Image.open(root / "annotations" / folder / f"{name}_labelTrainIds.png") as image:
        assert image.mode == "L"
        return np.array(image).tolist()


def test_ids_move_up_over_the_eleven_unused(source, tmp_path):
    out = tmp_path / "out"
    assert convert(source, out, no_progress) == (2, 0, ())
    assert mask(out) == COMPACT
    assert mask(out, "COCO_train2014_000000000099", "test2014") == [[5, 5]]
    assert (out / "images/train2014" / f"{NAME}.jpg").samefile(source / "images" / f"{NAME}.jpg")
    assert (out / "imageLists/train.txt").read_text() == f"{NAME}\n"


def test_all_ids():
    used = [raw for raw in range(183) if raw not in UNUSED_IDS]
    assert len(used) == 172
    assert compact(np.array([used]), "x").tolist() == [list(range(172))]
    assert compact(np.array([used]), "x").dtype == np.uint8


@pytest.mark.parametrize("raw", [*UNUSED_IDS, 183, 255, -1])
def test_ids_that_the_data_set_lacks(raw):
    with pytest.raises(DataError, match=rf"^a\.mat has the id {raw}, but COCO-Stuff has 0 to 182"):
        compact(np.array([[0, raw, 5]]), "a.mat")


def test_the_loader_reads_the_result(source, tmp_path):
    result = prepare("coco_stuff_10k", tmp_path / "out", [source])
    assert [str(count) for count in result.counts] == [
        "train: 1 of 9000 images",
        "test: 1 of 1000 images",
    ]
    assert result.notes == ()
    dataset = open_dataset(result.specs[0], "train")
    assert dataset[0].image.shape == (3, 4, 3)
    label_map = dataset[0].label_map
    assert (label_map == np.array(COMPACT) - 1)[1:].all()
    assert label_map[0].tolist() == [IGNORE_INDEX, 0, 10, 11]
    assert dataset.classes.names[0] == "person"
    assert dataset.classes.names[10] == "fire hydrant"
    assert dataset.classes.names[11] == "stop sign"
    assert dataset.classes.names[170] == "wood"


def test_in_place(source):
    lists = (source / "imageLists/train.txt").read_text()
    result = prepare("coco_stuff_10k", source, [source])
    assert result.made == 2
    assert mask(source) == COMPACT
    assert (source / "imageLists/train.txt").read_text() == lists
    assert prepare("coco_stuff_10k", source, [source]).made == 0


def test_a_part_of_the_data_set(source, tmp_path):
    """Listed ids whose label file is not there are not in the lists of the result."""
    listed = source / "imageLists/train.txt"
    listed.write_text(f"COCO_train2014_000000000001\n{NAME}\n")
    result = prepare("coco_stuff_10k", tmp_path / "out", [source])
    assert result.failures == ()
    assert len(open_dataset(result.specs[0], "train")) == 1
    write_coco_stuff(source, "train", "COCO_train2014_000000000001", [[1]])  # a later run has more
    listed.write_text(f"COCO_train2014_000000000001\n{NAME}\n")
    assert prepare("coco_stuff_10k", tmp_path / "out", [source]).made == 1
    assert len(open_dataset(result.specs[0], "train")) == 2


def test_a_second_run_makes_only_what_is_damaged(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out, no_progress)
    path = out / "annotations/train2014" / f"{NAME}_labelTrainIds.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert convert(source, out, no_progress) == (1, 1, ())
    assert mask(out) == COMPACT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"T": np.zeros((2, 2), np.uint16)}, "no readable MATLAB file with a field S"),
        ({"S": np.zeros((2, 2, 2), np.uint16)}, "no matrix of whole numbers"),
        ({"S": np.array([[0.5]])}, "no matrix of whole numbers"),
        ({"S": np.array([[np.nan, 1]])}, "no matrix of whole numbers"),
        ({"S": "text"}, "no matrix of whole numbers"),
        ({"S": np.zeros((0, 0), np.uint16)}, "no matrix of whole numbers"),
        ({"S": np.array([[12]], np.uint16)}, "has the id 12"),
        (b"", "no readable MATLAB file"),
        (b"not a mat", "no readable MATLAB file"),
    ],
)
def test_damaged_files_are_named_and_the_others_done(source, tmp_path, content, message):
    path = source / "annotations" / f"{NAME}.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    result = prepare("coco_stuff_10k", tmp_path / "out", [source])
    assert result.made == 1
    assert len(result.failures) == 1
    assert str(path) in result.failures[0]
    assert message in result.failures[0]


def test_truncated_files(source, tmp_path):
    write_coco_stuff(
        source, "train", NAME, np.random.default_rng(0).integers(1, 11, (40, 40)).tolist()
    )
    path = source / "annotations" / f"{NAME}.mat"
    data = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        assert len(convert(source, tmp_path / "out", no_progress).failures) == 1


def test_whole_numbers_of_another_type(source, tmp_path):
    savemat(source / "annotations" / f"{NAME}.mat", {"S": np.array(IDS, np.float64)})
    convert(source, tmp_path / "out", no_progress)
    assert mask(tmp_path / "out") == COMPACT


def test_labels_without_image(source, tmp_path):
    (source / "images" / f"{NAME}.jpg").unlink()
    result = prepare("coco_stuff_10k", tmp_path / "out", [source])
    assert result.failures == (f"{source / 'images' / NAME}.jpg does not exist.",)
    assert result.counts[0].found == 0


@pytest.mark.parametrize("name", ["../x", ".", "a/b", "a\\b"])
def test_lists_cannot_lead_out(source, tmp_path, name):
    (source / "imageLists/train.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match="which is no name of an image"):
        convert(source, tmp_path / "out", no_progress)


def test_missing_lists(source, tmp_path):
    os.unlink(source / "imageLists/test.txt")
    with pytest.raises(
        DataError, match=r"test\.txt cannot be read.*comes with cocostuff-10k-v1\.1\.zip"
    ):
        convert(source, tmp_path / "out", no_progress)


def test_without_label_files(tmp_path):
    write_image(tmp_path / "images" / "a.jpg", (2, 2))
    with pytest.raises(DataError, match=r"no annotations/\*\.mat in .*cocostuff-10k-v1\.1\.zip"):
        prepare("coco_stuff_10k", tmp_path / "out", [tmp_path])
