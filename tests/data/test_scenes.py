"""The synthetic scenes: the same for a seed, complete, and careful with folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from vitseg.data.catalog import open_dataset
from vitseg.data.scene_painter import SCENE_CLASSES, draw_scene
from vitseg.data.scenes import write_scenes
from vitseg.errors import DataError


def contents(root) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_seed_decides_every_byte(tmp_path):
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write_scenes(tmp_path / name, num_train=2, num_val=1, size=(64, 80), seed=seed)
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    first, other = contents(tmp_path / "first"), contents(tmp_path / "other")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith(".png"))


def test_more_scenes_leave_the_others_as_they_are(tmp_path):
    write_scenes(tmp_path / "few", num_train=2, num_val=1, size=(64, 64), seed=0)
    write_scenes(tmp_path / "more", num_train=3, num_val=2, size=(64, 64), seed=0)
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    assert all(more[name] == few[name] for name in few if name.endswith(".png"))


def test_it_is_a_folder_data_set(tmp_path):
    write_scenes(tmp_path, num_train=3, num_val=2, size=(72, 96), seed=0)
    for split, count in (("train", 3), ("val", 2)):
        dataset = open_dataset(f"folder:{tmp_path}", split)
        assert len(dataset) == count
        assert dataset.classes == SCENE_CLASSES
        for index in range(count):
            sample = dataset[index]
            assert sample.image.shape == (72, 96, 3)
            assert 0 <= sample.label_map.min() <= sample.label_map.max() < SCENE_CLASSES.num_classes


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (64, 160), (160, 64)])
def test_a_complete_scene_has_every_class_at_a_useful_size(size):
    for seed in range(12):
        image, label_map = draw_scene(np.random.default_rng(seed), size, complete=True)
        assert image.shape == (*size, 3)
        assert image.dtype == label_map.dtype == np.uint8
        shares = (
            np.bincount(label_map.ravel(), minlength=SCENE_CLASSES.num_classes) / label_map.size
        )
        assert len(shares) == SCENE_CLASSES.num_classes
        assert shares.min() > 0.003, (seed, shares)


def test_scenes_of_an_earlier_call_are_removed_but_other_files_stay(tmp_path):
    write_scenes(tmp_path, num_train=3, num_val=2, size=(64, 64), seed=0)
    own = tmp_path / "images" / "holiday.png"
    Image.new("RGB", (2, 2)).save(own)
    write_scenes(tmp_path, num_train=1, num_val=1, size=(64, 64), seed=1)
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        "train_0000.png",
        "val_0000.png",
        own.name,
    }
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {
        "train_0000.png",
        "val_0000.png",
    }
    assert json.loads((tmp_path / "scenes.json").read_text())["seed"] == 1


def test_a_folder_of_the_user_is_refused_and_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_0000.png").write_bytes(b"mine")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="not empty"):
        write_scenes(tmp_path, num_train=1, num_val=1, size=(64, 64), seed=0)
    assert contents(tmp_path) == before


def test_a_file_instead_of_a_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        write_scenes(tmp_path / "taken", num_train=1, num_val=1, size=(64, 64), seed=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_train": 0}, "num_train is 0"),
        ({"num_val": 0}, "num_val is 0"),
        ({"size": (64, 63)}, "64x63"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, arguments, named):
    with pytest.raises(DataError, match=named):
        write_scenes(
            tmp_path / "scenes",
            **({"num_train": 1, "num_val": 1, "size": (64, 64), "seed": 0} | arguments),
        )
    assert not (tmp_path / "scenes").exists()
