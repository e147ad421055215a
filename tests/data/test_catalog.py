from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import open_dataset, parse_data_spec
from vitseg.data.official.camvid import CamVid
from vitseg.errors import ConfigError, DataError

CLASS_NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip


def write_camvid(root: Path, names: list[str], **content) -> None:
    for kind, array in (("images", np.zeros((2, 2, 3), np.uint8)), ("masks", np.full((2, 2), 11))):
        (root / kind).mkdir()
        Image.fromarray(array.astype(np.uint8)).save(root / kind / "x.png")
    (root / "train.txt").write_text("x")
    (root / "classes.json").write_text(json.dumps({"classes": names, **content}))


def test_a_spec_is_split_at_its_first_colon():
    assert parse_data_spec("folder:data/streets") == ("folder", Path("data/streets"))
    assert parse_data_spec(r"camvid:C:\data") == ("camvid", Path(r"C:\data"))


@pytest.mark.parametrize("spec", ["camvid", "data/streets", "camvid:", ""])
def test_a_spec_needs_a_name_and_a_folder(spec):
    with pytest.raises(ConfigError, match="Write NAME:FOLDER"):
        parse_data_spec(spec)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"'camvit' is not a known data set. Did you mean 'camvid'"
    ):
        open_dataset("camvit:data", "train")
    with pytest.raises(ConfigError, match=r"NAME:FOLDER; 'C:\\\\data' came"):
        open_dataset(r"C:\data", "train")


def test_open_dataset(tmp_path):
    write_camvid(tmp_path, [*CLASS_NAMES, "void"], ignore_index=11)
    assert open_dataset(f"camvid:{tmp_path}", "train").name == "camvid"
    assert open_dataset(f"folder:{tmp_path}", "train").name == "folder"


def test_camvid_ignores_void(tmp_path):
    write_camvid(tmp_path, [*CLASS_NAMES, "void"], ignore_index=11)
    dataset = CamVid().open(tmp_path, "train")
    assert dataset.classes.names == CLASS_NAMES
    assert set(np.unique(dataset[0].label_map)) == {IGNORE_INDEX}


def test_camvid_refuses_other_classes(tmp_path):
    write_camvid(tmp_path, ["sky", "road"])
    with pytest.raises(DataError, match=r"has the classes sky, road, but camvid has sky, building"):
        CamVid().open(tmp_path, "train")


def test_camvid_refuses_classes_without_void(tmp_path):
    write_camvid(tmp_path, list(CLASS_NAMES))
    with pytest.raises(DataError, match=r"does not ignore the id 11 \(void\)"):
        CamVid().open(tmp_path, "train")


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101), ("test", 233)])
def test_real_camvid(shared, split, count):
    dataset = open_dataset(f"camvid:{shared / 'data' / 'camvid'}", split)
    assert len(dataset) == count
    assert dataset.classes.num_classes == 11
    sample = dataset[0]
    assert sample.image.shape == (360, 480, 3)
    assert set(np.unique(sample.label_map)) <= set(range(-1, 11))


def test_real_clothing_photos(shared):
    dataset = open_dataset(f"folder:{shared / 'data' / 'ccp'}", "val")
    assert len(dataset) == 200
    assert dataset.classes.num_classes == 59
    assert dataset[0].label_map.min() >= 0
