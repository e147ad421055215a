from __future__ import annotations

import builtins
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.data.catalog import list_splits, open_dataset, parse_data_spec
from vitseg.data.formats.huggingface import HubRoot
from vitseg.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")

NAMES = ["sky", "road"]
IDS = np.array([[0, 1, 1], [0, 0, 255]], np.uint8)
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def table(columns: dict[str, object]):
    """One row; arrays become image columns, lists columns of two-dimensional arrays, texts are texts."""
    features, values = {}, {}
    for name, value in columns.items():
        if isinstance(value, str):
            features[name] = datasets.Value("string")
        elif isinstance(value, list):
            features[name] = datasets.Array2D(np.array(value).shape, "int32")
        else:
            features[name] = datasets.Image()
            value = Image.fromarray(value) if isinstance(value, np.ndarray) else value
        values[name] = [value]
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def write(root: Path, columns: dict[str, object], classes: bool = True) -> Path:
    table(columns).save_to_disk(root)
    if classes:
        (root / "classes.json").write_text(json.dumps({"classes": NAMES}))
    return root


def encoded(kind: str, array: np.ndarray, tmp_path: Path) -> dict:
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(array).save(path)
    return {"bytes": path.read_bytes(), "path": None}


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("user/name", HubRoot("user/name")),
        (r"C:\data", HubRoot(r"C:\data")),
        ("a?image=x", HubRoot("a", "x")),
        ("a/b?label=y&classes=c.json", HubRoot("a/b", None, "y", Path("c.json"))),
    ],
)
def test_roots(text, root):
    assert parse_data_spec(f"huggingface:{text}") == ("huggingface", root)


def test_a_folder_may_have_a_question_mark_in_its_name(tmp_path):
    root = tmp_path / "what?image"
    root.mkdir()
    assert parse_data_spec(f"huggingface:{root}") == ("huggingface", HubRoot(str(root)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a?imag=x", "'imag' is not a known option. Did you mean 'image'"),
        ("a?image=", "gives image no value"),
        ("?image=x", "is not written PATH"),
        ("a?", "is not written PATH"),
    ],
)
def test_malformed_roots(text, message):
    with pytest.raises(ConfigError) as caught:
        open_dataset(f"huggingface:{text}", "train")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [("image", "label"), ("pixel_values", "labels"), ("photo", "annotation"), ("rgb", "Mask")],
)
def test_columns_by_usual_names(tmp_path, names):
    image, label = names
    root = write(tmp_path, {"id": "x", label: IDS, image: PIXELS})
    dataset = open_dataset(f"huggingface:{root}", "all")
    assert dataset.source.endswith(f"images in column {image}, masks in column {label}")
    assert dataset.ids == ("row-000000",)
    sample = dataset[0]
    np.testing.assert_array_equal(sample.image, PIXELS)
    assert sample.label_map.tolist() == [[0, 1, 1], [0, 0, -1]]
    assert dataset.mask_files(0) == ()
    assert isinstance(dataset.image_source(0), bytes)


def test_named_columns(tmp_path):
    root = write(tmp_path, {"image": PIXELS, "label": IDS, "fine": 1 - IDS.clip(max=1)})
    dataset = open_dataset(f"huggingface:{root}?image=image&label=fine", "all")
    assert dataset[0].label_map.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_masks_may_be_arrays(tmp_path):
    root = write(tmp_path, {"image": PIXELS, "label": IDS.tolist()})
    dataset = open_dataset(f"huggingface:{root}", "all")
    assert dataset[0].label_map.tolist() == [[0, 1, 1], [0, 0, -1]]


def test_masks_may_be_of_16_bits(tmp_path):
    root = write(tmp_path, {"image": PIXELS, "label": IDS.astype(np.uint16) * 300})
    (root / "classes.json").write_text(
        json.dumps({"classes": {0: "a", 300: "b"}, "ignore_index": 300 * 255 - 65536})
    )
    assert open_dataset(f"huggingface:{root}", "all")[0].label_map.tolist() == [
        [0, 1, 1],
        [0, 0, -1],
    ]


def test_masks_may_be_colours(tmp_path):
    colors = np.array([[9, 0, 0], [0, 9, 0]], np.uint8)
    root = write(tmp_path, {"image": PIXELS, "label": colors[IDS.clip(max=1)]})
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, "palette": colors.tolist()}))
    assert open_dataset(f"huggingface:{root}", "all")[0].label_map.tolist() == [
        [0, 1, 1],
        [0, 0, 1],
    ]


def test_splits_and_their_aliases(tmp_path):
    one = table({"image": PIXELS, "label": IDS})
    datasets.DatasetDict({"train": one, "validation": one}).save_to_disk(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert list_splits(f"huggingface:{tmp_path}") == ("train", "validation")
    assert open_dataset(f"huggingface:{tmp_path}", "val").split == "validation"
    with pytest.raises(DataError, match=r"Valid: train, validation\."):
        open_dataset(f"huggingface:{tmp_path}", "test")


def test_the_class_file_may_lie_elsewhere(tmp_path):
    root = write(tmp_path / "data", {"image": PIXELS, "label": IDS}, classes=False)
    with pytest.raises(DataError, match=r"has no class file: put classes\.json .*\?classes="):
        open_dataset(f"huggingface:{root}", "all")
    (tmp_path / "names.txt").write_text("sky\nroad\n")
    spec = f"huggingface:{root}?classes={tmp_path / 'names.txt'}"
    assert open_dataset(spec, "all").classes.names == ("sky", "road")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": PIXELS, "label": IDS, "mask": IDS}, "several columns could be the label: label, mask"),
        ({"a": PIXELS, "b": PIXELS, "label": IDS}, "several columns could be the image: a, b"),
        ({"image": PIXELS, "caption": "x"}, "no column looks like the label"),
        ({"text": "x"}, "no column looks like the image"),
    ],
)  # fmt: skip
def test_unclear_columns_are_listed(tmp_path, columns, message):
    root = write(tmp_path, columns)
    with pytest.raises(DataError) as caught:
        open_dataset(f"huggingface:{root}", "all")
    assert message in str(caught.value)
    assert f"huggingface:{root}?image=COLUMN&label=COLUMN" in str(caught.value)
    assert all(name in str(caught.value) for name in columns)


def test_named_columns_that_are_not_there(tmp_path):
    root = write(tmp_path, {"image": PIXELS, "label": IDS, "caption": "x"})
    with pytest.raises(DataError, match=r"label=lable: 'lable' is not .* Did you mean 'label'"):
        open_dataset(f"huggingface:{root}?label=lable", "all")
    with pytest.raises(DataError, match=r"image=caption: .* Known: image, label\."):
        open_dataset(f"huggingface:{root}?image=caption", "all")


def test_masks_that_do_not_keep_ids(tmp_path):
    cell = encoded("jpg", IDS, tmp_path)
    root = write(tmp_path / "data", {"image": PIXELS, "label": cell})
    with pytest.raises(DataError, match=r"^label of row 0: the image data is a JPEG file"):
        open_dataset(f"huggingface:{root}", "all")[0]


def test_masks_of_mixed_kinds(tmp_path):
    rows = [table({"image": PIXELS, "label": mask}) for mask in (IDS, PIXELS)]
    datasets.concatenate_datasets(rows).save_to_disk(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    dataset = open_dataset(f"huggingface:{tmp_path}", "all")
    assert dataset[0].label_map.shape == (2, 3)
    with pytest.raises(DataError, match=r"^label of row 1: the image data has 3 channels"):
        dataset[1]


@pytest.mark.parametrize("column", ["image", "label"])
def test_damaged_and_missing_cells(tmp_path, column):
    good = {"image": PIXELS, "label": IDS}
    root = write(tmp_path / "a", {**good, column: {"bytes": b"none of it", "path": None}})
    with pytest.raises(DataError, match="not an image in a known format"):
        open_dataset(f"huggingface:{root}", "all")[0]
    root = write(tmp_path / "b", {**good, column: None})
    with pytest.raises(DataError, match=f"row 0 has no {column}"):
        open_dataset(f"huggingface:{root}", "all")[0]


@pytest.mark.parametrize("column", ["image", "label"])
def test_the_size_limit_of_files_applies(tmp_path, column):
    data = bytearray(encoded("png", IDS, tmp_path)["bytes"])
    data[16:24] = struct.pack(">II", 100_000, 100_000)  # the size in the header
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    cells = {"image": PIXELS, "label": IDS, column: {"bytes": bytes(data), "path": None}}
    root = write(tmp_path / "data", cells)
    with pytest.raises(DataError, match=r"100000x100000 .* are decoded"):
        open_dataset(f"huggingface:{root}", "all")[0]


def test_a_folder_that_was_not_saved(tmp_path):
    with pytest.raises(DataError, match=r"not written by save_to_disk.*use folder:"):
        open_dataset(f"huggingface:{tmp_path}", "train")
    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="cannot be loaded: ") as caught:
        open_dataset(f"huggingface:{tmp_path}", "train")
    assert "\n" not in str(caught.value)


def test_the_hub_out_of_reach(monkeypatch):
    def offline(*arguments, **options):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "get_dataset_split_names", offline)
    with pytest.raises(DataError, match=r"a/b is no folder, .*: ConnectionError: no route\. Check"):
        open_dataset("huggingface:a/b", "train")


def test_a_mistyped_folder_is_not_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path: pytest.fail("asked"))
    with pytest.raises(DataError, match="does not exist, and is no name on the hub"):
        open_dataset(f"huggingface:{tmp_path / 'nowhere'}", "train")


def test_what_the_hub_gives_is_read(monkeypatch, tmp_path):
    one = table({"image": PIXELS, "label": IDS})
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path: ["train"])
    monkeypatch.setattr(datasets, "load_dataset", lambda path, split: one)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    spec = f"huggingface:a/b?classes={tmp_path / 'classes.txt'}"
    assert open_dataset(spec, "train")[0].label_map[0].tolist() == [0, 1, 1]


def test_without_the_library(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'vitseg\[huggingface\]'"):
        open_dataset("huggingface:a/b", "train")


@pytest.mark.parametrize("where", ["in the folder", "named", "beside one of names"])
def test_a_class_file_says_more_than_names(tmp_path, where):
    root = write(tmp_path / "data", {"image": PIXELS, "label": IDS}, classes=False)
    named = {"classes": NAMES}
    more = {"value_range": [0, 4095], "bands": [3, 1], "ignore": [NAMES[0]]}
    option = ""
    if where == "beside one of names":
        (root / "classes.json").write_text(json.dumps(named))
        (root / "classes.yaml").write_text(json.dumps(more))
    else:
        path = tmp_path / "my.json" if where == "named" else root / "classes.json"
        path.write_text(json.dumps(named | more))
        option = f"?classes={path}" if where == "named" else ""
    dataset = open_dataset(f"huggingface:{root}{option}", "all")
    assert dataset.value_range == (0, 4095)
    assert dataset.bands is not None
    assert [band.number for band in dataset.bands.chosen or ()] == [3, 1]
    assert dataset.classes.names == tuple(NAMES[1:])
