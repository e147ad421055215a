"""The loaders on real files of the data sets, where there are any."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import yaml

from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import list_splits, open_dataset
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.official.tables import read_table


@pytest.fixture
def samples(shared):
    return shared / "data" / "samples"


def names_in(dataset: SegmentationDataset, index: int) -> set[str]:
    used = np.unique(dataset[index].label_map)
    return {dataset.classes.names[number] for number in used if number != IGNORE_INDEX}


def test_names_of_ade20k_are_those_of_its_table(samples):
    names = read_table("ade20k", "hint").raw_names
    with (samples / "ade20k/object150_info.csv").open() as file:
        official = {int(row["Idx"]): row["Name"] for row in csv.DictReader(file)}
    assert set(official) == set(names) - {0}
    # In this file a `;` stands for a space, too.
    other = {
        raw: names[raw]
        for raw, words in official.items()
        if not f"{words};".startswith(f"{names[raw].replace(' ', ';')};")
    }
    assert other == {90: "television receiver"}
    assert ";television;receiver;" in official[90]


def test_real_ade20k(samples):
    dataset = open_dataset(f"ade20k:{samples / 'ade20k'}", "train")
    assert (dataset.split, len(dataset), dataset.findings) == ("training", 3, ())
    street = names_in(dataset, dataset.ids.index("ADE_train_00016869"))
    assert {"building", "sky", "tree", "road", "sidewalk", "person", "car"} <= street
    for index in range(3):
        raw, label_map = dataset.raw_ids(index), dataset.label_map(index)
        assert (label_map == raw.astype(int) - 1).all()  # -1 is IGNORE_INDEX


def test_both_kinds_of_real_cityscapes_masks_give_the_same_label_map(samples, tmp_path):
    real = samples / "cityscapes"
    by_train_ids = open_dataset(f"cityscapes:{real}", "train")
    assert by_train_ids.source.startswith("labelTrainIds masks")
    (tmp_path / "leftImg8bit").symlink_to(real / "leftImg8bit")
    for path in real.rglob("*_labelIds.png"):
        link = tmp_path / path.relative_to(real)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    by_label_ids = open_dataset(f"cityscapes:{tmp_path}", "train")
    assert by_label_ids.source.startswith("labelIds masks")
    assert by_train_ids.ids == by_label_ids.ids
    assert len(by_train_ids) == 3
    for index in range(3):
        one, other = by_train_ids.label_map(index), by_label_ids.label_map(index)
        assert (one == other).all()
    assert {"road", "car", "vegetation", "sky", "person"} <= names_in(by_train_ids, 0)


def test_real_small_cityscapes(samples):
    spec = f"cityscapes:{samples / 'cityscapes_tiny_mmseg'}"
    assert list_splits(spec) == ("val",)
    dataset = open_dataset(spec, "val")
    assert dataset[0].image.shape == (128, 256, 3)
    assert {"road", "building", "sky", "car", "person"} <= names_in(dataset, 0)


def test_real_coco_stuff(samples):
    spec = f"coco_stuff_164k:{samples / 'coco_stuff'}"
    assert [len(open_dataset(spec, split)) for split in ("train", "val")] == [13, 8]
    dataset = open_dataset(spec, "val")
    room = names_in(dataset, dataset.ids.index("000000000139"))
    assert {"person", "chair", "dining table", "tv", "refrigerator", "clock", "vase"} <= room
    for split in ("train", "val"):
        for sample in open_dataset(spec, split):
            assert sample.label_map.max() < 171


def test_names_of_coco_stuff_are_those_of_the_panoptic_categories(shared):
    """The categories of COCO panoptic keep the ids of COCO-Stuff's labels; merged ones have ids of their own."""
    file = shared / "data/coco_panoptic_sem/classes.yaml"
    panoptic = yaml.safe_load(file.read_text())["classes"]
    names = {raw + 1: name for raw, name in read_table("coco_stuff_164k", "hint").raw_names.items()}
    both = set(names) & set(panoptic)
    assert len(both) == 112
    assert {raw: names[raw] for raw in both} == {raw: panoptic[raw] for raw in both}
