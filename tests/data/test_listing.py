"""Which files of a folder are a data set's, in every format."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.content import (
    FORMATS,
    IN_TABLES,
    NAMES,
    save,
    write_binary_by_class,
    write_coco_polygons,
    write_index,
    write_yolo,
)
from tests.data.formats.exports import EXPORTS
from vitseg.data.catalog import list_splits, open_dataset, open_unchecked, parse_data_spec
from vitseg.data.listing import files_below, files_of, listed_once
from vitseg.errors import ConfigError, DataError

WRITERS = {
    "index": write_index,
    "binary": write_binary_by_class,
    "coco": write_coco_polygons,
    "yolo": write_yolo,
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path) -> Path:
    WRITERS[request.param](tmp_path)
    return tmp_path


def test_a_link_to_a_folder_above_is_not_followed(written):
    before = {split: open_dataset(f"folder:{written}", split).ids for split in ("train", "val")}
    for folder in ("images", "images/train", "masks/train", "labels/train"):
        if (written / folder).is_dir():
            (written / folder / "loop").symlink_to(written / folder)
            (written / folder / "up").symlink_to(written)
    splits = list_splits(f"folder:{written}")
    assert set(splits) == {"train", "val"}
    for split, ids in before.items():
        assert open_dataset(f"folder:{written}", split).ids == ids


def test_a_path_that_goes_up_again_is_no_loop(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "photo.png").touch()
    for spelling in ("a/../a", "a/b/..", "a/b/../../a"):
        assert files_below(tmp_path / spelling) == ("photo.png",)


def test_links_that_lead_to_each_other_end(tmp_path):
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.png").touch()
    for number in range(4):
        for other in range(4):
            (tmp_path / str(number) / f"to{other}").symlink_to(tmp_path / str(other))
    assert 4 <= len(files_below(tmp_path)) < 300


@pytest.mark.parametrize("list_files", [files_below, partial(files_of, suffixes=(".png",))])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, list_files):
    (tmp_path / "closed").mkdir()
    place = tmp_path if list_files is files_below else tmp_path / "closed"
    scan = os.scandir

    def scandir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"closed cannot be read \(Permission denied\)"):
        list_files(place)
    assert list(list_files(tmp_path / "none")) == []


def test_files_of_systems_and_hidden_ones_are_none(written):
    count = len(open_dataset(f"folder:{written}", "train"))
    for place in ("images", "images/train"):
        for name in (
            ".ipynb_checkpoints/0-checkpoint.png",
            "__MACOSX/._0.png",
            ".DS_Store",
            "._9.png",
            "@eaDir/0.png",
            "Thumbs.db",
        ):
            path = written / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    assert set(list_splits(f"folder:{written}")) == {"train", "val"}
    dataset = open_dataset(f"folder:{written}", "train")
    assert len(dataset) == count
    assert all(finding.severity == "info" for finding in dataset.findings)


@pytest.mark.parametrize("name", ["0_thumb.png", "thumbs/0.png", "thumbnails/0.png", "thumb_0.png"])
def test_thumbnails_are_left_out_and_said(tmp_path, name):
    for write, kind in (
        (write_index, "index"),
        (write_yolo, "yolo"),
        (write_binary_by_class, "binary"),
    ):
        root = tmp_path / kind
        write(root)
        save(root / "images" / "train" / name, np.zeros((8, 8, 3), np.uint8))
        dataset = open_dataset(f"folder:{root}", "train")
        assert len(dataset) == 4
        assert "thumbnail" in [finding.code for finding in dataset.findings]


def test_a_thumb_that_is_no_small_copy_stays(tmp_path):
    write_yolo(tmp_path)
    save(tmp_path / "images" / "train" / "hand_thumb.png", np.zeros((8, 8, 3), np.uint8))
    assert len(open_dataset(f"folder:{tmp_path}", "train")) == 5


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_forms_are_equal(written, forms):
    name = "Müller é"
    for place, form in (("images", forms[0]), ("masks", forms[1]), ("labels", forms[1])):
        for path in sorted((written / place).rglob("0.*")):
            path.rename(path.with_stem(unicodedata.normalize(form, name)))
    for path in (written / "annotations").glob("*.json"):
        text = path.read_text().replace('"0.png"', f'"{unicodedata.normalize(forms[1], name)}.png"')
        path.write_text(text)
    dataset = open_dataset(f"folder:{written}", "train")
    assert len(dataset) == 4
    found = next(sample for sample in dataset if "ller" in sample.id)
    assert (found.label_map > 0).any()


def test_lists_may_spell_accents_in_the_other_form(tmp_path):
    write_index(tmp_path)
    shutil.move(tmp_path / "images/train/0.png", tmp_path / "images/train/é.png")
    shutil.move(tmp_path / "masks/train/0.png", tmp_path / "masks/train/é.png")
    (tmp_path / "train.txt").write_text(unicodedata.normalize("NFD", "é\n1\n"))
    assert len(open_dataset(f"folder:{tmp_path}", "train")) == 2


def test_two_pictures_of_one_stem_are_an_error(written):
    shutil.copy(written / "images/train/0.png", written / "images/train/0.jpg")
    coco = (written / "annotations").is_dir()
    if coco:
        path = written / "annotations/instances_train.json"
        path.write_text(path.read_text().replace('"1.png"', '"0.jpg"'))
    with pytest.raises(DataError, match="have the same stem"):
        open_dataset(f"folder:{written}", "train")


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_index(tmp_path / "data")
    assert len(open_dataset("folder:~/data", "train")) == 4
    assert parse_data_spec("huggingface:~/data?image=a")[1].path == str(tmp_path / "data")
    with pytest.raises(ConfigError, match="home folder that is not known"):
        parse_data_spec("folder:~nobody-of-this-name/data")


def test_within_a_block_a_folder_is_listed_once(tmp_path):
    (tmp_path / "a").touch()
    with listed_once():
        assert list(files_below(tmp_path)) == ["a"]
        (tmp_path / "b").touch()
        assert list(files_below(tmp_path)) == ["a"]
    assert list(files_below(tmp_path)) == ["a", "b"]


EVERY_FORMAT = {
    **FORMATS,
    **{export: (name, write) for export, (name, _, write) in EXPORTS.items()},
}


@pytest.mark.parametrize("written_as", EVERY_FORMAT)
def test_datasets_are_sequences(tmp_path, written_as):
    name, write = EVERY_FORMAT[written_as]
    if name in IN_TABLES:
        pytest.importorskip(IN_TABLES[name])
    write(tmp_path)
    dataset = open_unchecked(f"{name}:{tmp_path}", "train")
    assert [sample.id for sample in dataset] == list(dataset.ids)
    assert [sample.id for sample in reversed(dataset)] == list(dataset.ids)[::-1]
    np.testing.assert_array_equal(dataset[-1].label_map, dataset[3].label_map)
    np.testing.assert_array_equal(dataset[-4].image, dataset[np.int64(0)].image)
    np.testing.assert_array_equal(dataset.label_map(-1), dataset.label_map(3))
    assert dataset.mask_files(-1) == dataset.mask_files(3)
    assert dataset.image_name(-1) == dataset.image_name(3)
    for index in (4, -5):
        for method in (
            dataset.__getitem__,
            dataset.raw_ids,
            dataset.image_source,
            dataset.mask_files,
        ):
            with pytest.raises(IndexError, match="has 4 samples"):
                method(index)
    with pytest.raises(TypeError, match=r"write \[dataset\[index\] for index in range"):
        dataset[1:3]
    with pytest.raises(TypeError, match="whole number, but 'a' came"):
        dataset["a"]
    assert dataset.classes.names == NAMES
