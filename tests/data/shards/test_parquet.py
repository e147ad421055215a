"""Parquet files of others: their columns and rows, and what is said of those that cannot be used."""

from __future__ import annotations

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.shards.same import splits_of
from tests.data.shards.test_webdataset import IDS, PIXELS, png
from vitseg.data.catalog import FOLDER, list_splits, open_dataset, open_unchecked
from vitseg.data.formats import parquet as parquet_format
from vitseg.data.shards.write import write_shards
from vitseg.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(array: np.ndarray) -> dict[str, Any]:
    return {"bytes": png(array), "path": None}


def write(path: Path, columns: dict[str, tuple[Any, list[Any]]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = [(name, kind) for name, (kind, _) in columns.items()]
    table = pa.table({name: values for name, (_, values) in columns.items()}, pa.schema(fields))
    pq.write_table(table, path, **options)
    return path


def rows(count: int = 2, **columns: tuple[Any, list[Any]]) -> dict[str, tuple[Any, list[Any]]]:
    images = (PICTURE, [picture(PIXELS)] * count)
    return {"image": images, "label": (PICTURE, [picture(IDS)] * count), **columns}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "set"
    write(folder / "data/train-00000-of-00002.parquet", rows())
    write(folder / "data/train-00001-of-00002.parquet", rows(1))
    write(folder / "data/validation-00000-of-00001.parquet", rows(1))
    (folder / "classes.json").write_text(json.dumps({"classes": ["sky", "road"]}))
    (folder / "README.md").write_text("A card.")
    return folder


def test_a_data_set_of_the_hub_as_it_was_downloaded(root):
    assert list_splits(f"parquet:{root}") == ("train", "validation")
    assert FOLDER.detect(root) == ("parquet", "3 .parquet files and no others")
    dataset = open_dataset(f"folder:{root}", "train")
    assert dataset.ids == ("row-000000", "row-000001", "row-000002")
    assert "images in column image.bytes, masks in column label.bytes" in dataset.source
    for sample in dataset:
        np.testing.assert_array_equal(sample.image, PIXELS)
        assert sample.label_map.tolist() == [[0, 1, 1], [0, 0, -1]]
    assert dataset.image_name(2).endswith("train-00001-of-00002.parquet row 0")
    assert open_dataset(f"parquet:{root}", "val").split == "validation"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_ids(tmp_path, kind):
    columns = {
        "id": (pa.string(), ["a", "b"]),
        "photo": (kind, [png(PIXELS)] * 2),
        "mask": (kind, [png(IDS), png(1 - IDS.clip(max=1))]),
    }
    write(tmp_path / "x.parquet", columns)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    dataset = open_dataset(f"parquet:{tmp_path}", "all")
    assert dataset.ids == ("a", "b")
    assert dataset[1].label_map.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_named_columns(tmp_path):
    columns = rows(fine=(PICTURE, [picture(1 - IDS.clip(max=1))] * 2), number=(pa.int64(), [7, 8]))
    write(tmp_path / "x.parquet", columns)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    dataset = open_dataset(f"parquet:{tmp_path}?image=image&mask=fine&id=number", "all")
    assert dataset.ids == ("7", "8")
    assert dataset[0].label_map.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_masks_in_colours(tmp_path):
    colors = np.array([[9, 0, 0], [0, 9, 0]], np.uint8)
    mask = picture(colors[IDS.clip(max=1)])
    write(tmp_path / "x.parquet", rows(label=(PICTURE, [mask] * 2)))
    classes = {"classes": ["sky", "road"], "palette": colors.tolist()}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    dataset = open_dataset(f"parquet:{tmp_path}", "all")
    assert dataset[0].label_map.tolist() == [[0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("empty", [None, {"bytes": None, "path": "b.png"}])
@pytest.mark.parametrize(("column", "word"), [("label", "mask"), ("image", "image")])
def test_a_row_without_image_or_mask(root, column, word, empty, statistics):
    """It is told when the set is opened, where the file counts its empty cells; else when the row is read."""
    full = picture(IDS if column == "label" else PIXELS)
    path = root / "data/train-00000-of-00002.parquet"
    write(path, rows(**{column: (PICTURE, [full, empty])}), write_statistics=statistics)
    if not statistics:
        with pytest.raises(DataError, match=rf"00000-of-00002\.parquet row 1 has no {word}"):
            open_dataset(f"parquet:{root}", "train")[1]
        return
    dataset = open_unchecked(f"parquet:{root}", "train")
    assert len(dataset) == 2
    assert dataset.image_name(1).endswith("train-00001-of-00002.parquet row 0")
    with pytest.raises(DataError, match=rf"1 row has no {word}: .*00000-of-00002\.parquet row 1\."):
        open_dataset(f"parquet:{root}", "train")


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -9])
def test_a_cut_file_is_told_and_the_others_are_read(root, cut):
    path = root / "data/train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    what = "is empty" if cut == 0 else "is cut off or no Parquet file"
    with pytest.raises(DataError, match=rf"data/train-00001-of-00002\.parquet {what}"):
        open_dataset(f"parquet:{root}", "train")
    assert len(open_unchecked(f"parquet:{root}", "train")) == 2
    path.with_name("train-00000-of-00002.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 shards of .* are missing or damaged"):
        open_dataset(f"parquet:{root}", "train")


def test_a_file_without_rows_holds_none(root):
    write(root / "data/train-00001-of-00002.parquet", rows(0))
    assert len(open_dataset(f"parquet:{root}", "train")) == 2


def test_two_rows_of_one_id(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    write(tmp_path / "a.parquet", rows(id=(pa.string(), ["x", "y"])))
    write(tmp_path / "b.parquet", rows(id=(pa.string(), ["z", "x"])))
    with pytest.raises(DataError, match=r"1 row has the id of another: b\.parquet row 1 \(x\)\."):
        open_dataset(f"parquet:{tmp_path}", "all")


NUMBERS = (pa.int64(), [1, 2])


@pytest.mark.parametrize(
    ("columns", "query", "message"),
    [
        (rows(image=NUMBERS), "", "the column image holds int64, but images are encoded pictures"),
        (rows(label=NUMBERS), "", "the column label holds int64, but masks are encoded pictures"),
        (rows(image=(pa.struct([("a", pa.int8())]), [None] * 2)), "", "holds struct<a: int8>"),
        ({"image": rows()["image"]}, "", "no column looks like the mask. Its columns are image"),
        ({"a": rows()["image"], "b": NUMBERS, "c": rows()["label"]}, "", "several columns could"),
        (rows(), "?image=imag", "image=imag: 'imag' is not a known column. Did you mean 'image'"),
        (rows(), "?mask=masks", "mask=masks: 'masks' is not a known column"),
        (rows(), "?id=name", "id=name: 'name' is not a known column"),
        (rows(name=(pa.string(), ["a", None])), "?id=name", "row 1 has None as its id (name)"),
    ],
)
def test_columns_that_cannot_be_used(tmp_path, columns, query, message):
    write(tmp_path / "x.parquet", columns)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError) as caught:
        open_dataset(f"parquet:{tmp_path}{query}", "all")
    assert message in str(caught.value)


def test_a_column_of_numbers_beside_the_masks_is_none(tmp_path):
    """As of data sets that are for classification, too."""
    write(tmp_path / "x.parquet", {**rows(), "label": NUMBERS, "mask": rows()["label"]})
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert "column mask.bytes" in open_dataset(f"parquet:{tmp_path}", "all").source


def test_shards_with_other_columns(root):
    path = root / "data/train-00001-of-00002.parquet"
    write(path, {"img": rows(1)["image"], "label": rows(1)["label"]})
    with pytest.raises(DataError, match="has other columns of images and masks than"):
        open_dataset(f"parquet:{root}", "train")


def test_large_row_groups_are_warned_of(root, monkeypatch):
    monkeypatch.setattr(parquet_format, "LARGE_GROUP", 100)
    (finding,) = open_dataset(f"parquet:{root}", "train").findings
    assert (finding.code, finding.severity) == ("large-row-groups", "warning")
    assert "vitseg data shard parquet:" in finding.fix


def test_a_row_group_is_read_once_for_samples_in_order(root, monkeypatch):
    read: list[str] = []
    values = parquet_format.ParquetShard.values

    def counted(self, group, leaf):
        read.append(leaf)
        return values(self, group, leaf)

    monkeypatch.setattr(parquet_format.ParquetShard, "values", counted)
    dataset = pickle.loads(pickle.dumps(open_dataset(f"parquet:{root}", "train")))
    read.clear()
    assert len(list(dataset)) == 3
    assert sorted(read) == ["image.bytes"] * 2 + ["label.bytes"] * 2


def test_a_damaged_picture_names_its_row_once(root):
    mask = picture(IDS)
    mask["bytes"] = mask["bytes"][:40]
    write(root / "data/train-00001-of-00002.parquet", rows(1, label=(PICTURE, [mask])))
    with pytest.raises(DataError, match=r"00001-of-00002\.parquet row 0") as caught:
        open_dataset(f"parquet:{root}", "train")[2]
    assert str(caught.value).count("parquet row") == 1


def test_own_shards_tell_of_themselves_without_their_manifest(root, tmp_path):
    """Somebody passes on the Parquet files alone."""
    source = splits_of(f"parquet:{root}")
    write_shards(source, tmp_path / "own", "parquet")
    (tmp_path / "alone").mkdir()
    file = tmp_path / "own/train-00000.parquet"
    file.rename(tmp_path / "alone/train-00000.parquet")
    dataset = open_dataset(f"parquet:{tmp_path / 'alone'}", "train")
    assert dataset.classes == source["train"].classes
    assert dataset.ids == source["train"].ids
    np.testing.assert_array_equal(dataset[1].label_map, source["train"][1].label_map)


def test_without_the_library(root, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match=r"pip install 'vitseg\[shards\]'"):
        open_dataset(f"parquet:{root}", "train")
