from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo, write_dataset
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.plan.scenes import Scenes, find_scenes, name_groups
from vitseg.plan.split import SplitMaker, divide


def unsplit(root, stems, classes=("sky", "road"), labels=None, alike=()):
    """Pairs in one folder, each image of its own look, unless it is `alike` the one before."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    for number, stem in enumerate(stems):
        seed = number - 1 if stem in alike else number
        for folder in ("images", "masks"):
            (root / folder / stem).parent.mkdir(exist_ok=True)
        Image.fromarray(photo(32, 32, seed)).save(root / "images" / f"{stem}.png")
        mask = np.zeros((32, 32), np.uint8)
        mask[16:] = 1
        if labels and stem in labels:
            mask[:8, :8] = labels[stem]
        Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
    return root


def maker(root, tmp_path, **labels):
    return SplitMaker(f"folder:{root}", labels, tmp_path / "plan", 0)


def test_names_tell_scenes():
    assert name_groups(["a_001", "a_002", "b_001", "b_2", "c_1", "c_2"]) == [[0, 1], [2, 3], [4, 5]]
    assert name_groups(["x/1", "x/2", "y/1", "y/2", "z/7"]) == [[0, 1], [2, 3]]
    assert name_groups(["0001", "0002", "0003"]) == []
    assert name_groups(["a", "b", "c", "d"]) == []
    assert name_groups(["img_1", "img_2", "img_3", "other_1", "more_1"]) == []  # one holds most


def test_images_that_look_alike_are_one_scene(tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(6)], alike=("p3",))
    scenes = find_scenes(open_dataset(f"folder:{root}", "all"))
    assert scenes.of_image[2] == scenes.of_image[3]
    assert scenes.count == 5
    assert scenes.told_by == "near-duplicate images"


def test_one_video_is_cut_into_stretches(tmp_path):
    stems = [f"frame_{n:03d}" for n in range(12)]
    root = unsplit(tmp_path / "data", stems[:1])
    for stem in stems[1:]:
        for folder in ("images", "masks"):
            shutil.copy(root / folder / f"{stems[0]}.png", root / folder / f"{stem}.png")
    scenes = find_scenes(open_dataset(f"folder:{root}", "all"))
    assert "stretches of neighbouring names" in scenes.told_by
    assert scenes.count == 10
    assert list(scenes.of_image) == sorted(scenes.of_image)


def test_scenes_stay_whole_and_rare_classes_are_on_both_sides():
    of_image = tuple(number // 2 for number in range(20))
    present = np.zeros((20, 3), bool)
    present[:, 0] = True
    present[[2, 17], 1] = True  # two scenes show it
    present[5, 2] = True  # one scene shows it: it is trained on
    for seed in range(5):
        val = divide(Scenes(of_image, ""), present, seed)
        assert len(val) == 4
        assert all((each ^ 1) in val for each in val)
        assert present[val, 1].sum() == 1
        assert not present[val, 2].any()
    assert divide(Scenes(of_image, ""), present, 3) == divide(Scenes(of_image, ""), present, 3)
    seeds = {tuple(divide(Scenes(of_image, ""), None, seed)) for seed in range(5)}
    assert len(seeds) > 1


def test_each_side_has_something():
    assert len(divide(Scenes((0, 1), ""), None, 0)) == 1
    lone = np.eye(3, dtype=bool)  # each class in one image alone
    assert len(divide(Scenes((0, 1, 2), ""), lone, 0)) == 1


def test_a_split_is_made_where_there_is_none(tmp_path):
    root = unsplit(tmp_path / "data", [f"{s}_{n}" for s in "abcde" for n in range(2)])
    split = maker(root, tmp_path).make()
    assert split.words == "split by scene, told by the beginnings of their names (seed 0)"
    assert (len(split.train_set), len(split.val_set)) == (8, 2)
    assert len({each[0] for each in split.val_set.ids}) == 1
    again = open_dataset(f"folder:{root}", split.val_name)
    assert list(again.ids) == list(split.val_set.ids)
    assert (again.split, split.val_set.split) == ("val", "val")
    assert any("only 2 images to validate on" in each for each in split.warnings)


def test_the_own_split_is_taken(tmp_path):
    root = write_dataset(tmp_path / "data")
    split = maker(root, tmp_path).make()
    assert (split.train_name, split.val_name) == ("train", "val")
    assert not (tmp_path / "plan").exists()
    fewer = maker(root, tmp_path).fewer_to_validate(split, 1)
    assert len(fewer.val_set) == 1
    assert fewer.val_name == str(tmp_path / "plan" / "val.txt")
    assert list(open_dataset(f"folder:{root}", fewer.val_name).ids) == list(fewer.val_set.ids)


def test_a_training_split_alone_is_divided(tmp_path):
    root = write_dataset(tmp_path / "data", num_train=6, num_val=2)
    (root / "val.txt").rename(root / "test.txt")
    split = maker(root, tmp_path).make()
    assert (len(split.train_set), len(split.val_set)) == (5, 1)
    assert all(each.startswith("train_") for each in split.val_set.ids)


def test_it_is_asked_which_split_to_train_on(tmp_path):
    root = write_dataset(tmp_path / "data")
    for name, new in (("train", "day"), ("val", "night")):
        (root / f"{name}.txt").rename(root / f"{new}.txt")
    with pytest.raises(DataError, match=r"splits day, night.*data\.train_split=NAME"):
        maker(root, tmp_path).make()
    split = maker(root, tmp_path).make("day", "night")
    assert (len(split.train_set), len(split.val_set)) == (4, 2)


def test_images_without_masks_are_left_out(tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(20)])
    for number in range(4, 20):
        (root / "masks" / f"p{number}.png").unlink()
    split = maker(root, tmp_path).make()
    assert split.num_unpaired == 16
    assert (len(split.train_set), len(split.val_set)) == (3, 1)
    assert not split.train_set.findings


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pairs_are_refused(tmp_path, count):
    root = unsplit(tmp_path / "data", ["a", "b", "c"])
    for stem in ["a", "b", "c"][count:]:
        (root / "masks" / f"{stem}.png").unlink()
    with pytest.raises(
        DataError, match="one image with a mask" if count else "no image with a mask"
    ):
        maker(root, tmp_path).make()


def test_lone_classes_are_named(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b"], ("sky", "road", "cat"), labels={"b": 2})
    split = maker(root, tmp_path).make()
    assert any(each.startswith("not ") and "cat" in each for each in split.warnings)
